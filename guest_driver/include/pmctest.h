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

#define PMCTEST_ABI 1u

/* CTL_CODE(0x8000, number, METHOD_BUFFERED, FILE_READ_DATA | FILE_WRITE_DATA) */
#define PMCTEST_DEVICE_TYPE 0x8000u
#define PMCTEST_CODE(number) ((PMCTEST_DEVICE_TYPE << 16) | (3u << 14) | ((number) << 2))

#define PMCTEST_INFO PMCTEST_CODE(0x800u)     /* – → struct pmctest_info */
#define PMCTEST_ALLOCATE PMCTEST_CODE(0x801u) /* struct pmctest_allocate + arrays → struct pmctest_call */
#define PMCTEST_FREE PMCTEST_CODE(0x802u)     /* struct pmctest_free → struct pmctest_call */
#define PMCTEST_CYCLES PMCTEST_CODE(0x803u)   /* struct pmctest_cycles → struct pmctest_cycles_result */
#define PMCTEST_RACE PMCTEST_CODE(0x804u)     /* struct pmctest_race → struct pmctest_race_result + entries */
#define PMCTEST_COUNT PMCTEST_CODE(0x805u)    /* struct pmctest_count → struct pmctest_count_result */

/* Bounds; whatever is beyond them is refused with STATUS_INVALID_PARAMETER before anything happens. */
#define PMCTEST_NAME_CHARS 32u    /* of a service and of its device: A-Z a-z 0-9 _ - */
#define PMCTEST_MAX_ITEMS 65536u  /* entries of an affinity or resource list, also when only claimed */
#define PMCTEST_MAX_CYCLES 10000u
#define PMCTEST_MAX_THREADS 8u
#define PMCTEST_MAX_ROUNDS 2000u
#define PMCTEST_MAX_LOOP 1000000u
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
	uint32_t reserved;
	char version[16];
	char arch[16];
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
	uint32_t worker; /* 1: on a system thread */
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
	uint32_t status; /* STATUS_INVALID_DEVICE_STATE: this handle of the device holds no allocation */
	uint32_t cpu;    /* number within the group */
	uint16_t group;
	uint16_t reserved[3];
	struct pmu_report report;
};

_Static_assert(sizeof(struct pmctest_info) == 64, "wire format");
_Static_assert(sizeof(struct pmctest_call) == 24, "wire format");
_Static_assert(sizeof(struct pmctest_allocate) == 32, "wire format");
_Static_assert(sizeof(struct pmctest_resource) == 16, "wire format");
_Static_assert(sizeof(struct pmctest_free) == 16, "wire format");
_Static_assert(sizeof(struct pmctest_cycles_result) == 40, "wire format");
_Static_assert(sizeof(struct pmctest_race_entry) == 12, "wire format");
_Static_assert(sizeof(struct pmctest_race_result) == 24, "wire format");
_Static_assert(sizeof(struct pmctest_count_result) == 16 + sizeof(struct pmu_report), "wire format");

#endif
