/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the client and the test driver say to each other: I/O control codes with buffered structures. Transport status (that of
 * the IRP) and API status (that of the routine, in struct pmctest_call) travel apart.
 */
#ifndef HALPMC_PMCTEST_H
#define HALPMC_PMCTEST_H

#include <stdint.h>

#include "../pmu/pmu.h"
#include "counter_abi.h"

#define PMCTEST_ABI 3u

/*
 * CTL_CODE(0x8000, number, METHOD_BUFFERED, access): a handle needs FILE_READ_DATA for what only looks, FILE_WRITE_DATA too for what
 * changes anything. The I/O manager sees to that.
 */
#define PMCTEST_DEVICE_TYPE 0x8000u
#define PMCTEST_READS 1u
#define PMCTEST_CHANGES 3u
#define PMCTEST_CODE(number, access) ((PMCTEST_DEVICE_TYPE << 16) | ((access) << 14) | ((number) << 2))

#define PMCTEST_INFO PMCTEST_CODE(0x800u, PMCTEST_READS)       /* – → struct pmctest_info */
#define PMCTEST_ALLOCATE PMCTEST_CODE(0x801u, PMCTEST_CHANGES) /* struct pmctest_allocate + arrays → struct pmctest_call */
#define PMCTEST_FREE PMCTEST_CODE(0x802u, PMCTEST_CHANGES)     /* struct pmctest_free → struct pmctest_call */
#define PMCTEST_CYCLES PMCTEST_CODE(0x803u, PMCTEST_CHANGES)   /* struct pmctest_cycles → struct pmctest_cycles_result */
#define PMCTEST_RACE PMCTEST_CODE(0x804u, PMCTEST_CHANGES)     /* struct pmctest_race → struct pmctest_race_result + entries */
#define PMCTEST_COUNT PMCTEST_CODE(0x805u, PMCTEST_CHANGES)    /* struct pmctest_count → struct pmctest_count_result */
#define PMCTEST_COUNT_ALL PMCTEST_CODE(0x806u, PMCTEST_CHANGES) /* struct pmctest_count → struct pmctest_count_all + results */
#define PMCTEST_HOLDINGS PMCTEST_CODE(0x807u, PMCTEST_READS)   /* – → struct pmctest_holdings + entries, as many as there is room for */
#define PMCTEST_OVERFLOWS PMCTEST_CODE(0x808u, PMCTEST_READS)  /* – → struct pmctest_overflows */
#define PMCTEST_GUARD PMCTEST_CODE(0x809u, PMCTEST_CHANGES)    /* struct pmctest_guard → struct pmctest_guard_result */
#define PMCTEST_INTERRUPT PMCTEST_CODE(0x80au, PMCTEST_CHANGES) /* struct pmctest_interrupt → struct pmctest_count_result */

/* Bounds; whatever is beyond them is refused with STATUS_INVALID_PARAMETER before anything happens. */
#define PMCTEST_NAME_CHARS 32u    /* of a service and of its device: A-Z a-z 0-9 _ - */
#define PMCTEST_MAX_ITEMS 65536u  /* entries of an affinity or resource list, also when only claimed */
#define PMCTEST_MAX_CYCLES 10000u
#define PMCTEST_MAX_THREADS 8u
#define PMCTEST_MAX_ROUNDS 2000u
#define PMCTEST_MAX_LOOP 100000u
#define PMCTEST_MAX_HELD 1024u       /* allocations held by all handles of one instance */
#define PMCTEST_REMEMBERED_HANDLES 256u /* that `free` still accepts after they were freed */

#define PMCTEST_ANY_CPU 0xFFFFFFFFu

struct pmctest_info {
	uint32_t abi;
	uint32_t cpus;
	uint32_t held;
	uint32_t loop_max;
	uint64_t pool_bytes; /* nonpaged pool that this instance holds itself */
	uint8_t allocate_present;
	uint8_t free_present;
	uint8_t secured;       /* the device is restricted to administrators and SYSTEM */
	uint8_t shared_layout; /* resource lists are passed in the layout of 1903 and later */
	uint8_t destructive;   /* calls at DISPATCH_LEVEL and leaks are allowed: AllowDestructive was 1 when the driver started */
	uint8_t understood;    /* pmu_understood(): counting is possible */
	uint8_t image;         /* enum pmctest_image */
	uint8_t reserved;
	uint32_t groups;
	uint32_t pmu_interface; /* enum pmu_interface, on the CPU that answers */
	uint32_t pmu_version;
	uint32_t reserved2;
	char version[16];
	char arch[16];
};

/* Where the routine that allocates lies, as far as its address tells. */
enum pmctest_image {
	PMCTEST_IMAGE_UNKNOWN = 0,
	PMCTEST_IMAGE_KERNEL = 1, /* in the image of the kernel itself */
	PMCTEST_IMAGE_OTHER = 2,  /* in another one: a HAL of its own */
};

/* One observed call of a routine. */
struct pmctest_call {
	uint64_t handle; /* the handle cell after an allocate, the handle given to a free */
	uint32_t status;
	uint32_t cpu; /* number within the group */
	uint16_t group;
	uint8_t irql_before;
	uint8_t irql_after;
	uint8_t written; /* the handle cell was changed from its poison */
	uint8_t reserved[3];
};

enum pmctest_allocate_flags {
	PMCTEST_WITH_AFFINITY = 1,  /* else GroupAffinty is NULL */
	PMCTEST_WITH_RESOURCES = 2, /* else ResourceList is NULL */
	PMCTEST_KEEP = 4,           /* the grant belongs to the instance, not to the file: a free or the unload ends it */
	PMCTEST_DISPATCH = 8,       /* destructive: called at DISPATCH_LEVEL */
	PMCTEST_LEAK = 16,          /* destructive: the driver forgets what it was granted */
	PMCTEST_NULL_CELL = 32,     /* destructive: CounterSetHandle is NULL; nothing is known of a handle, so nothing is kept */
};

struct pmctest_resource {
	uint32_t type;
	uint32_t flags;
	uint32_t first;  /* index, Begin, EventThreshold or tag */
	uint32_t second; /* End */
};

/*
 * Followed by `affinity_items` struct counter_affinity, then `resource_items` struct pmctest_resource. The counts that the routine
 * is told may differ from the items; the driver passes memory that is really there, zero behind the items.
 */
struct pmctest_allocate {
	uint32_t flags;
	uint32_t group_count;    /* as told to the routine */
	uint32_t resource_count; /* as told to the routine, in the list */
	uint32_t affinity_items;
	uint32_t resource_items;
	uint32_t cpu; /* index over all groups, or PMCTEST_ANY_CPU */
	uint64_t poison;
};

struct pmctest_free {
	uint64_t handle;
	uint32_t cpu;
	uint32_t flags; /* enum pmctest_free_flags */
};

enum pmctest_free_flags {
	PMCTEST_FREE_WORKER = 1,   /* on a system thread */
	PMCTEST_FREE_DISPATCH = 2, /* destructive: called at DISPATCH_LEVEL */
	PMCTEST_FREE_ANY = 4,      /* destructive: also values that never were a handle */
	PMCTEST_FREE_POOL = 8,     /* destructive: the address of a block of nonpaged pool instead of `handle`; the answer has it */
};

struct pmctest_cycles {
	uint32_t count;
	uint32_t reserved;
};

struct pmctest_cycles_result {
	uint64_t elapsed_us;
	uint32_t completed;
	uint32_t deviated; /* 1: `deviation` is the first call that did not succeed */
	struct pmctest_call deviation;
};

enum pmctest_event {
	PMCTEST_ALLOCATING = 0,
	PMCTEST_ALLOCATED = 1,
	PMCTEST_REFUSED = 2, /* with any status that is not success */
	PMCTEST_FREEING = 3,
	PMCTEST_FREED = 4, /* with the status of the free */
};

struct pmctest_race {
	uint32_t threads;
	uint32_t rounds;
};

/* `sequence` is drawn before a call for the events 0 and 3, and after it for the others. */
struct pmctest_race_entry {
	uint32_t sequence;
	uint16_t round;
	uint8_t thread;
	uint8_t event;
	uint32_t status;
};

struct pmctest_race_result {
	uint32_t successes;
	uint32_t refusals;
	uint32_t frees;
	uint32_t other; /* calls with an unexpected status */
	uint32_t entries;
	uint32_t reserved;
	struct pmctest_race_entry entry[];
};

struct pmctest_count {
	uint32_t loop;
	uint32_t cpu;
};

struct pmctest_count_result {
	/*
	 * STATUS_INVALID_DEVICE_STATE: this handle of the device does not hold the whole PMU of all CPUs; STATUS_NOT_SUPPORTED: a PMU
	 * that is not understood (only described). In both cases no register was written.
	 */
	uint32_t status;
	uint32_t cpu;    /* number within the group */
	uint16_t group;
	uint16_t reserved[3];
	struct pmu_report report;
};

/*
 * Make a general counter wrap once, with its interrupt enabled. The status is as in struct pmctest_count_result, but that this handle of
 * the device has to hold that counter of all CPUs, in a list that has an overflow handler, too. The report has one entry.
 */
struct pmctest_interrupt {
	uint32_t loop;
	uint32_t cpu;
	uint32_t index;
	uint32_t reserved;
};

/* One after the other, each on its own CPU. */
struct pmctest_count_all {
	uint32_t cpus;
	uint32_t reserved;
	struct pmctest_count_result result[];
};

enum pmctest_owner {
	PMCTEST_OWNER_DRIVER = 0, /* the instance itself (PMCTEST_KEEP) */
	PMCTEST_OWNER_SELF = 1,   /* the handle of the device that asks */
	PMCTEST_OWNER_OTHER = 2,  /* another one */
};

struct pmctest_held {
	uint64_t handle;
	uint32_t file;  /* number of the device's handle, counted from 1 since the load; 0: the instance */
	uint8_t owner;  /* enum pmctest_owner */
	uint8_t whole;  /* all counters of all CPUs were asked for */
	uint16_t reserved;
};

struct pmctest_holdings {
	uint32_t total;
	uint32_t entries; /* below */
	struct pmctest_held held[];
};

/* What the overflow handler was called with since the load. */
#define PMCTEST_OVERFLOW_OWNERS 16u
struct pmctest_overflows {
	uint64_t calls;
	uint64_t lost; /* calls for owners beyond the table */
	struct {
		uint64_t handle; /* OwningHandle; the table ends with the first entry without calls */
		uint64_t calls;
		uint64_t bits; /* OverflowBits of all calls together */
	} owner[PMCTEST_OVERFLOW_OWNERS];
};

/* One access to a PMU register that is made to fault, see pmu_provoke(). */
struct pmctest_guard {
	uint32_t write; /* 1: needs what counting needs */
	uint32_t reserved;
};

struct pmctest_guard_result {
	uint32_t status; /* as in struct pmctest_count_result */
	uint32_t fault;  /* NTSTATUS of the exception, 0: there was none */
};

_Static_assert(sizeof(struct pmctest_count_all) == 8, "wire format");
_Static_assert(sizeof(struct pmctest_interrupt) == 16, "wire format");
_Static_assert(sizeof(struct pmctest_held) == 16, "wire format");
_Static_assert(sizeof(struct pmctest_holdings) == 8, "wire format");
_Static_assert(sizeof(struct pmctest_overflows) == 16 + 24 * PMCTEST_OVERFLOW_OWNERS, "wire format");
_Static_assert(sizeof(struct pmctest_guard_result) == 8, "wire format");
_Static_assert(sizeof(struct pmctest_info) == 80, "wire format");
_Static_assert(sizeof(struct pmctest_call) == 24, "wire format");
_Static_assert(sizeof(struct pmctest_allocate) == 32, "wire format");
_Static_assert(sizeof(struct pmctest_resource) == 16, "wire format");
_Static_assert(sizeof(struct pmctest_free) == 16, "wire format");
_Static_assert(sizeof(struct pmctest_cycles_result) == 40, "wire format");
_Static_assert(sizeof(struct pmctest_race_entry) == 12, "wire format");
_Static_assert(sizeof(struct pmctest_race_result) == 24, "wire format");
_Static_assert(sizeof(struct pmctest_count_result) == 16 + sizeof(struct pmu_report), "wire format");

#endif
