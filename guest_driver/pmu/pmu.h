/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PMU core: what the CPU advertises, and whether each counter counts. Freestanding C, shared by the PMU probe (ring 0 / EL1,
 * its own exception vectors) and the test driver (structured exception handling): one truth, two hosts.
 *
 * The core touches PMU registers only. Every instruction that may fault goes through pmu_guarded(), which the host supplies; it
 * calls pmu_raw() inside its guard, so that a #GP or an undefined instruction is an answer and never the end of the host.
 */
#ifndef HALPMC_PMU_H
#define HALPMC_PMU_H

#include <stddef.h>
#include <stdint.h>

#define PMU_MAX_COUNTERS 48u /* 8 general + fixed on Intel, 6 (16 in V2) on AMD, cycle counter + up to 3 events each on ARM */
#define PMU_MAX_TRIES 3u     /* a counter gets this many chances: an interrupt of the system in the loop only ever adds */
#define PMU_NAME_BYTES 16u

enum pmu_interface { PMU_NONE = 0, PMU_INTEL_ARCH = 1, PMU_AMD = 2, PMU_AMD_V2 = 3, PMU_ARM_V3 = 4 };
enum pmu_kind { PMU_GENERAL = 0, PMU_FIXED = 1, PMU_CYCLE = 2 };
/* COUNTING: started, in range and stopped. DEAD: anything else without a fault. */
enum pmu_state { PMU_DEAD = 0, PMU_COUNTING = 1, PMU_FAULTED = 2 };
/*
 * What was asked of a counter, one bit each. Not everything can be asked everywhere: a bit that is not in `checked` says nothing.
 * STARTED: it moved while enabled. IN_RANGE: by what the loop makes. STOPPED: it stands still when disabled. RESET: a written 0 is
 * read, and stays. RDPMC: the instruction RDPMC reads what the register shows (x86). OVERFLOW: the overflow status was set by a wrap
 * and cleared when told to (asked of a counting counter, where a status register exists and the bit was clear before). RESTORED: each
 * register read back as it was found. AT_REST: it was not enabled when it was found.
 */
enum pmu_check {
	PMU_CHECK_STARTED = 1,
	PMU_CHECK_IN_RANGE = 2,
	PMU_CHECK_STOPPED = 4,
	PMU_CHECK_RESET = 8,
	PMU_CHECK_RDPMC = 16,
	PMU_CHECK_OVERFLOW = 32,
	PMU_CHECK_RESTORED = 64,
	PMU_CHECK_AT_REST = 128,
};
#define PMU_CHECKS 8u
/* PMU_MSR_* take an x86 MSR number, PMU_RDPMC an RDPMC index, PMU_SYSREG_* an enum pmu_sysreg (ARM). */
enum pmu_op { PMU_MSR_READ = 0, PMU_MSR_WRITE = 1, PMU_RDPMC = 2, PMU_SYSREG_READ = 3, PMU_SYSREG_WRITE = 4 };

struct pmu_counter {
	uint32_t kind;  /* enum pmu_kind */
	uint32_t index; /* within its kind */
	uint32_t event; /* what it was programmed to count, in the CPU's own encoding */
	uint32_t state; /* enum pmu_state */
	uint64_t count; /* difference over the loop */
	uint32_t fault; /* host's fault code of the first faulting access, 0 if none */
	uint32_t checked; /* enum pmu_check: asked */
	uint32_t passed;  /* of these */
	uint32_t rdpmc_fault; /* of the RDPMC that PMU_CHECK_RDPMC makes; no part of `state` */
	uint64_t rdpmc;   /* what it read */
};

struct pmu_report {
	uint32_t interface; /* enum pmu_interface */
	uint32_t version;   /* arch PMU version, or PMUVer */
	uint32_t general;   /* counters advertised; 0 for AMD's four legacy counters, which no CPUID bit announces */
	uint32_t fixed;     /* on ARM 1: the cycle counter */
	uint32_t width;     /* bits of a general counter */
	uint32_t loop;      /* iterations of the known loop */
	uint32_t counters;  /* entries used below */
	uint32_t fault;     /* first fault code seen at all, 0 if none */
	struct pmu_counter counter[PMU_MAX_COUNTERS];
};

_Static_assert(sizeof(struct pmu_counter) == 48, "wire format");
_Static_assert(offsetof(struct pmu_counter, fault) == 24 && offsetof(struct pmu_counter, rdpmc) == 40, "wire format");
_Static_assert(sizeof(struct pmu_report) == 32 + 48 * PMU_MAX_COUNTERS, "wire format");

/* Supplied by the host: run pmu_raw(op, reg, value) under a fault guard; 0, or the host's code of the fault. */
uint32_t pmu_guarded(uint32_t op, uint32_t reg, uint64_t *value);

/* The bare access. Call it only from pmu_guarded(). Registers that are not PMU registers are ignored and read as 0. */
void pmu_raw(uint32_t op, uint32_t reg, uint64_t *value);

/* Fill in what the CPU advertises on this CPU; counters stays 0. */
void pmu_describe(struct pmu_report *report);

/*
 * Whether this code knows what it would program on a CPU that pmu_describe() answered for: Intel's versions 1 to 5. A host that
 * shares its CPU with others must not measure where the answer is 0.
 */
int pmu_understood(const struct pmu_report *report);

/*
 * One access that is made to fault, so that a host can prove its guard: 0, or the host's code of the fault. Reading: on x86 RDPMC of a
 * counter that no CPU has, on ARM PMCR_EL0, which faults where there is no PMU. Writing: on x86 a reserved bit of GLOBAL_CTRL, put
 * back as it was where it does not fault, so only the owner of the PMU may ask; on ARM PMCNTENCLR_EL0 without a bit set.
 */
uint32_t pmu_provoke(int write);

/*
 * pmu_describe(), then for each counter: save its registers, clear, program, run `loop` iterations of the known loop, stop, read,
 * ask the checks, restore. Bounded: at most PMU_MAX_COUNTERS * (PMU_MAX_TRIES * 3 + 1) * loop iterations. Runs on the current CPU, which the caller must
 * not leave. Legacy AMD counters that nothing advertises and that do not count end as PMU_NONE. With PMU_NONE the entries are
 * observations only (what reading a counter did), never PMU_COUNTING.
 */
void pmu_measure(struct pmu_report *report, uint32_t loop);

/* The known loop: ten instructions for each iteration (PMU_LOOP_INSTRUCTIONS). */
void pmu_loop(uint32_t iterations);

/*
 * pmu_describe(), then make the general counter with this index wrap once in `loop` iterations of the known loop, with its interrupt
 * enabled: for an owner of that counter whose handler the system calls. One entry at the most; PMU_COUNTING: it did wrap. Registers are
 * as they were but for the overflow status, which is the handler's to clear, and in those that other counters share, their bits are left alone.
 */
void pmu_interrupt(struct pmu_report *report, uint32_t index, uint32_t loop);

/* The words of the JSON answers; "?" for a value out of range. */
const char *pmu_interface_name(uint32_t interface); /* none, intel-arch, amd, amd-v2, pmuv3 */
const char *pmu_state_name(uint32_t state);         /* dead, counting, faulted */
/* instructions, cycles, ref-cycles, slots, sw-incr, or unprogrammed (an observation without a PMU) */
const char *pmu_event_name(uint32_t interface, const struct pmu_counter *counter);
const char *pmu_check_name(uint32_t number);        /* 0 to PMU_CHECKS - 1: started, in_range, ... */
/* gp0, fixed1, cycle, event3 */
void pmu_counter_name(uint32_t interface, const struct pmu_counter *counter, char name[PMU_NAME_BYTES]);

#endif
