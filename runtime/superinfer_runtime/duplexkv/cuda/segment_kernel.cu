// Copies scattered KV segments between HBM and slots with a few SMs, through Hopper's bulk copy unit.
//
// Each warp works for itself; its lane 0 keeps STAGES pieces on their way: a piece is loaded into
// shared memory (global -> shared, completing on an mbarrier) and stored from there (shared ->
// global). No data passes through registers; a few warps a block hide the cost of issuing. At most
// PENDING stores still read shared memory when a stage is refilled, and STAGES - PENDING loads are
// in flight beside them.
//
// Defined at compile time: WARPS, STAGES (a warp), STAGE_BYTES, PENDING, OUT (1: HBM to slots, 0:
// slots to HBM).

typedef unsigned long long u64;
typedef unsigned int u32;

struct Unit {         // a piece of a block, no larger than a stage
  u64 hbm_address;    // in block 0
  u64 hbm_stride;     // bytes from a block to the next
  u64 slot_offset;
  u64 num_bytes;      // a multiple of 16
};

__device__ __forceinline__ u32 shared_address(const void* pointer) {
  return static_cast<u32>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ void wait_full(u32 barrier, u32 parity) {
  u32 done = 0;
  while (!done) {
    asm volatile(
        "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
        : "=r"(done) : "r"(barrier), "r"(parity) : "memory");
  }
}

__device__ __forceinline__ void load(u32 stage, u64 source, u32 num_bytes, u32 barrier) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               :: "r"(barrier), "r"(num_bytes) : "memory");
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
               :: "r"(stage), "l"(source), "r"(num_bytes), "r"(barrier) : "memory");
}

__device__ __forceinline__ void store(u64 target, u32 stage, u32 num_bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;"
               :: "l"(target), "r"(stage), "r"(num_bytes) : "memory");
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

extern "C" __global__ void __launch_bounds__(32 * WARPS) copy_segments(
    const u64* blocks, const u64* slots, u32 num_blocks, const Unit* units, u32 units_per_block) {
  extern __shared__ __align__(128) unsigned char all_stages[];
  __shared__ __align__(8) u64 all_full[WARPS][STAGES];
  __shared__ u64 all_targets[WARPS][STAGES];
  __shared__ u32 all_sizes[WARPS][STAGES];
  const u32 lane = threadIdx.x & 31;
  const u32 warp = threadIdx.x >> 5;
  unsigned char* stages = all_stages + warp * STAGES * STAGE_BYTES;
  u64* full = all_full[warp];
  u64* targets = all_targets[warp];
  u32* sizes = all_sizes[warp];
  const u32 worker = blockIdx.x * WARPS + warp;
  const u32 workers = gridDim.x * WARPS;
  const u32 total = num_blocks * units_per_block;
  const u32 mine = total > worker ? (total - worker + workers - 1) / workers : 0;

  if (lane == 0) {
    for (int stage = 0; stage < STAGES; ++stage)
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" :: "r"(shared_address(&full[stage])) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }
  __syncwarp();

  u64 source = 0, target = 0;
  u32 size = 0;
  u32 loaded = 0;
  // Every lane looks up one of the next 32 pieces, so that the latency of the tables is paid once.
  auto load_next = [&]() {
    const u32 window = loaded & 31;
    if (window == 0 && loaded + lane < mine) {
      const u32 piece = worker + (loaded + lane) * workers;
      const u32 row = piece / units_per_block;
      const Unit unit = units[piece - row * units_per_block];
      const u64 hbm = unit.hbm_address + blocks[row] * unit.hbm_stride;
      const u64 slot = slots[row] + unit.slot_offset;
      source = OUT ? hbm : slot;
      target = OUT ? slot : hbm;
      size = static_cast<u32>(unit.num_bytes);
    }
    const u64 from = __shfl_sync(0xffffffffu, source, window);
    const u64 to = __shfl_sync(0xffffffffu, target, window);
    const u32 num_bytes = __shfl_sync(0xffffffffu, size, window);
    const u32 stage = loaded % STAGES;
    if (lane == 0) {
      targets[stage] = to;
      sizes[stage] = num_bytes;
      load(shared_address(stages + stage * STAGE_BYTES), from, num_bytes, shared_address(&full[stage]));
    }
    ++loaded;
  };

  while (loaded < mine && loaded < STAGES) load_next();
  for (u32 piece = 0; piece < mine; ++piece) {
    const u32 stage = piece % STAGES;
    if (lane == 0) {
      wait_full(shared_address(&full[stage]), (piece / STAGES) & 1);
      store(targets[stage], shared_address(stages + stage * STAGE_BYTES), sizes[stage]);
    }
    if (piece >= PENDING && loaded < mine) {
      if (lane == 0) asm volatile("cp.async.bulk.wait_group.read %0;" :: "n"(PENDING) : "memory");
      __syncwarp();
      load_next();
    }
  }
  if (lane == 0) asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}
