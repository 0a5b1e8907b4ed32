"""The command lines of a control plane's parts: pure."""

from pathlib import Path

from certificates import KeyPair

ISSUER = "https://kubernetes.default.svc"


def etcd(data: Path, url: str) -> list[str]:
    return [
        f"--data-dir={data}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        "--listen-peer-urls=http://127.0.0.1:0",
        # Spares the disk: what a killed etcd wrote is safe with the kernel, and this outlives all.
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def kube_apiserver(
    etcd_url: str,
    host: str,
    port: int,
    address: str,
    service_range: str,
    ca_file: Path,
    serving: KeyPair,
    tokens: KeyPair,
) -> list[str]:
    return [
        f"--etcd-servers={etcd_url}",
        f"--bind-address={host}",
        f"--secure-port={port}",
        f"--advertise-address={address}",
        # Nobody is sent to ``address``, which may be loopback: the testbed's proxy knows the way.
        "--endpoint-reconciler-type=none",
        f"--tls-cert-file={serving.public}",
        f"--tls-private-key-file={serving.key}",
        f"--client-ca-file={ca_file}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={tokens.public}",
        f"--service-account-signing-key-file={tokens.key}",
        f"--service-cluster-ip-range={service_range}",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        # Lets SIGTERM end watches; else their clients hold up the end for a minute.
        "--shutdown-watch-termination-grace-period=2s",
    ]


def kube_controller_manager(
    kubeconfig: Path, port: int, ca_file: Path, serving: KeyPair, tokens: KeyPair
) -> list[str]:
    return [
        *_controller(kubeconfig, port, serving),
        f"--service-account-private-key-file={tokens.key}",
        f"--root-ca-file={ca_file}",
        "--use-service-account-credentials=true",
    ]


def kube_scheduler(kubeconfig: Path, port: int, serving: KeyPair) -> list[str]:
    return _controller(kubeconfig, port, serving)


def _controller(kubeconfig: Path, port: int, serving: KeyPair) -> list[str]:
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        # One of each: an election only costs seconds at every start.
        "--leader-elect=false",
        # The defaults are for a shared server; here they only make every start take seconds longer.
        "--kube-api-qps=1000",
        "--kube-api-burst=1000",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={serving.public}",
        f"--tls-private-key-file={serving.key}",
    ]
