"""The first process of a container: makes its file system, then becomes the container's command.

Run by its path with the standard library only, in the pod's namespaces; it makes a mount and a
PID namespace for the container. The root is an overlay over the machine's own root with a private
upper layer in memory; volumes are bound at their mount paths. Through a named pipe the kubelet
hears the process id and what went wrong; the pipe closes when the command has begun.
"""

import ctypes
import json
import os
import signal
import sys
from typing import Any, NoReturn

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
CLONE_NEWNS, CLONE_NEWPID = 0x00020000, 0x20000000
PR_SET_PDEATHSIG = 1
MNT_DETACH = 2
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "fuse")
HOST = "/.host"
KERNEL_PLACES = ("/proc", "/sys", "/dev", "/run")
LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Fork into new namespaces; stay behind as the parent that knows how the child ended."""
    check(LIBC.unshare(CLONE_NEWNS | CLONE_NEWPID), "unshare")
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    child = os.fork()
    if child:
        os._exit(exit_code(child))
    check(LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")
    become_container(*sys.argv[1:])


def exit_code(child: int) -> int:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def become_container(plan_file: str, pipe_file: str) -> None:
    with open(plan_file) as file:
        plan = json.load(file)
    os.unlink(plan_file)
    pipe = os.open(pipe_file, os.O_WRONLY)
    # The machine's /proc, still mounted here, names this process as the kubelet sees it.
    tell(pipe, {"pid": int(os.readlink("/proc/self"))})
    command = plan["command"]
    try:
        build_root(plan)
        become_user(plan["user"])
        os.chdir(plan["working_dir"])
    except OSError as error:
        fail(pipe, f"{error.strerror}: {os.fsdecode(error.filename or '')}")
    try:
        os.execvpe(command[0], command, plan["environment"])
    except OSError as error:
        fail(pipe, f'exec: "{command[0]}": {error.strerror}')


def fail(pipe: int, message: str) -> NoReturn:
    tell(pipe, {"error": message})
    sys.exit(128)


def tell(pipe: int, message: dict[str, Any]) -> None:
    os.write(pipe, json.dumps(message).encode() + b"\n")


def build_root(plan: dict[str, Any]) -> None:
    others = other_file_systems(plan["kubelet_folder"])
    base = plan["root"]
    mount("tmpfs", base, "tmpfs", MS_NOSUID)
    root = overlay("/", base, "root")
    for index, place in enumerate(others):
        os.makedirs(root + place, exist_ok=True)
        try:
            layer = overlay(place, base, f"other{index}")
            mount(layer, root + place, None, MS_BIND)
        except OSError:
            # What cannot lie under an overlay is shown as it is, and nobody may write there.
            mount(place, root + place, None, MS_BIND)
            mount(None, root + place, None, MS_REMOUNT | MS_BIND | MS_RDONLY)
    os.mkdir(root + HOST)
    check(LIBC.pivot_root(root.encode(), (root + HOST).encode()), "pivot_root")
    os.chdir("/")
    # From here on paths are the container's own, so its symbolic links lead where they should.
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", "/sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    bind(plan["cgroup"], "/sys/fs/cgroup", read_only=True)
    make_devices()
    for each in plan["mounts"]:
        bind(each["source"], each["target"], each["read_only"])
    os.makedirs(plan["working_dir"], exist_ok=True)
    check(LIBC.umount2(HOST.encode(), MNT_DETACH), "umount")
    os.rmdir(HOST)
    if plan["read_only_root"]:
        mount(None, "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY)


def other_file_systems(kubelet_folder: str) -> list[str]:
    """Mount points besides the root that hold files of the machine, outermost first."""
    hidden = (*KERNEL_PLACES, kubelet_folder)
    places = []
    with open("/proc/self/mountinfo") as file:
        for line in file:
            place = line.split()[4].encode().decode("unicode_escape")
            inside = any(place == each or place.startswith(each + "/") for each in hidden)
            if place != "/" and not inside and os.path.isdir(place):
                places.append(place)
    return sorted(places)


def overlay(lower: str, base: str, name: str) -> str:
    upper, work, merged = (f"{base}/{name}-{part}" for part in ("upper", "work", "merged"))
    for folder in (upper, work, merged):
        os.makedirs(folder)
    mount("overlay", merged, "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}")
    return merged


def make_devices() -> None:
    mount("tmpfs", "/dev", "tmpfs", MS_NOSUID, "mode=755")
    accelerators = [name for name in os.listdir(HOST + "/dev") if name.startswith("nvidia")]
    for name in (*DEVICES, *accelerators):
        if os.path.exists(f"{HOST}/dev/{name}"):
            bind(f"/dev/{name}", f"/dev/{name}")
    for name, target in {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
        "ptmx": "pts/ptmx",
    }.items():
        os.symlink(target, f"/dev/{name}")
    for name, kind, options in (
        ("pts", "devpts", "newinstance,ptmxmode=0666"),
        ("shm", "tmpfs", "mode=1777"),
    ):
        os.mkdir(f"/dev/{name}")
        mount(kind, f"/dev/{name}", kind, MS_NOSUID, options)


def bind(source: str, target: str, read_only: bool = False) -> None:
    """Bind ``source``, a path of the machine, to ``target``, a path of the container."""
    source = HOST + source
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "x"):
            pass
    mount(source, target, None, MS_BIND | MS_REC)
    if read_only:
        mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY)


def become_user(user: dict[str, Any] | None) -> None:
    if user is None:
        return
    os.setgroups(user["groups"])
    os.setgid(user["gid"])
    os.setuid(user["uid"])
    # A change of user clears it.
    check(LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), "prctl")


def mount(
    source: str | None, target: str, kind: str | None, flags: int, options: str | None = None
) -> None:
    raw = [each and each.encode() for each in (source, target, kind, options)]
    check(LIBC.mount(raw[0], raw[1], raw[2], flags, raw[3]), target)


def check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


if __name__ == "__main__":
    main()
