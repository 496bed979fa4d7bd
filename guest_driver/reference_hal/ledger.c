/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who holds what. Two claims exclude each other when they share a counter on a processor; the whole PMU shares every counter.
 * A claim is granted or refused as a unit.
 */
#include "reference.h"

#define MAX_GRANTS 256u
#define HANDLE_STEP 0x100u /* handles lie apart, so that a near miss is no handle */
#define HANDLE_BASE 0x48u

static struct {
	ULONG64 handle; /* 0: free entry */
	struct claim claim;
} grants[MAX_GRANTS];

static ULONG64 granted; /* so many grants ever; no handle comes back */
static ULONG held;      /* so many of them are not freed */

static BOOLEAN in_conflict(const struct claim *a, const struct claim *b)
{
	if ((a->counters & b->counters) == 0)
		return FALSE;
	for (ULONG group = 0; group < MAX_GROUPS; group++) {
		if ((a->cpus[group] & b->cpus[group]) != 0)
			return TRUE;
	}
	return FALSE;
}

ULONG64 ledger_grant(const struct claim *claim, BOOLEAN ignore_conflicts)
{
	ULONG empty = MAX_GRANTS;

	for (ULONG i = 0; i < MAX_GRANTS; i++) {
		if (grants[i].handle == 0)
			empty = min(empty, i);
		else if (!ignore_conflicts && in_conflict(&grants[i].claim, claim))
			return 0;
	}
	if (empty == MAX_GRANTS)
		return 0;
	granted++;
	held++;
	grants[empty].handle = granted * HANDLE_STEP + HANDLE_BASE;
	grants[empty].claim = *claim;
	return grants[empty].handle;
}

BOOLEAN ledger_release(ULONG64 handle)
{
	for (ULONG i = 0; i < MAX_GRANTS && handle != 0; i++) {
		if (grants[i].handle == handle) {
			grants[i].handle = 0;
			held--;
			return TRUE;
		}
	}
	return FALSE;
}

BOOLEAN ledger_knew(ULONG64 handle)
{
	return handle % HANDLE_STEP == HANDLE_BASE && handle / HANDLE_STEP >= 1 && handle / HANDLE_STEP <= granted;
}

BOOLEAN ledger_empty(void)
{
	return held == 0;
}
