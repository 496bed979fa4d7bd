/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference HAL: our model of the documentation of HalAllocateHardwareCounters / HalFreeHardwareCounters, for a guest whose
 * own HAL has neither. It is no Windows component and shows nothing about one.
 *
 * Choices where the documentation is silent: see arguments.c (what is invalid) and ledger.c (what excludes what).
 */
#ifndef HALPMC_REFERENCE_H
#define HALPMC_REFERENCE_H

#include "nt.h"
#include "counter_abi.h"
#include "reference_settings.h"

#define MAX_GROUPS 4u          /* of 64 processors each */
#define MAX_COUNTERS 64u       /* bits of a counter set */
#define ALL_COUNTERS (~0ull)   /* the whole PMU, also what has no index */
#define MODEL_COUNTERS 4u      /* counters that a machine without a PMU is modelled with */

/* settings.c: what struct reference_settings says, taken over while nothing is granted. */
struct settings {
	LONG changes;
	BOOLEAN shared;
	BOOLEAN refuse;
	char defect[REFERENCE_DEFECT_ROOM];
};
NTSTATUS settings_share(void); /* makes the page that the client writes */
BOOLEAN settings_changed(void);
const struct settings *settings_read(void);

/*
 * Whether the HAL is to be broken in this way, so that a test can show that the harness would notice. The names are those of the
 * catalogue in harness/config/defects.py; each is asked for in one place.
 */
BOOLEAN defect(const char *name);

/* machine.c */
struct machine {
	BOOLEAN has_pmu;
	ULONG counters;          /* valid counter indices: general counters only */
	ULONG groups;
	ULONG64 active[MAX_GROUPS]; /* processors of each group */
};
void machine_describe(struct machine *machine);

/* What a caller asks for: these counters on these processors. */
struct claim {
	ULONG64 cpus[MAX_GROUPS];
	ULONG64 counters;
};

/* Who calls. The contract does not depend on it; some defects do. */
struct caller {
	PVOID image; /* of the driver */
	HANDLE process;
	HANDLE thread;
	ULONG cpu;
};

/* caller.c, for defects alone: `address` is where the routine returns to. */
struct caller caller_describe(PVOID address);
void wait_for_ever(void);

/* arguments.c: from the arguments to a claim, or the status that refuses them. */
NTSTATUS read_exclusive(const struct machine *machine, const struct counter_affinity *affinity, ULONG group_count, const void *list,
			struct claim *claim);
NTSTATUS read_shared(const struct machine *machine, const struct counter_affinity *affinity, ULONG group_count,
		     const struct counter_list_v2 *list, struct claim *claim);

/* ledger.c: who holds what. The caller serialises. A handle is never used twice. */
BOOLEAN ledger_conflict(const struct claim *claim, const struct caller *caller);
ULONG64 ledger_grant(const struct claim *claim, const struct caller *caller); /* 0: the ledger is full */
BOOLEAN ledger_release(ULONG64 handle, const struct caller *caller);
BOOLEAN ledger_knew(ULONG64 handle); /* was once granted */
BOOLEAN ledger_empty(void);          /* nothing is granted */

/* For defects: */
ULONG64 ledger_granted(void);                 /* so many grants ever */
void ledger_release_all(void);
BOOLEAN ledger_free_part(struct claim *claim); /* leave of a list what nobody holds; FALSE when that is nothing */
BOOLEAN ledger_moved(const struct caller *caller); /* this thread holds something that it was granted on another CPU */

#endif
