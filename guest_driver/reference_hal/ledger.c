/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who holds what. Two claims exclude each other when they share a counter on a processor; the whole PMU shares every counter.
 * A claim is granted or refused as a unit.
 */
#include "reference.h"

#define MAX_GRANTS 256u
#define HANDLE_STEP 0x100u /* handles lie apart, so that a near miss is no handle */
#define HANDLE_BASE 0x48u
#define LOST_HANDLE 1u /* of what nobody can free any more */

static struct grant {
	ULONG64 handle; /* 0: free entry */
	struct claim claim;
	struct caller caller;
} grants[MAX_GRANTS];

static ULONG64 granted; /* so many grants ever; no handle comes back */
static ULONG64 freed;   /* so many frees ever */
static ULONG held;      /* so many grants are not freed */

static BOOLEAN is_whole(const struct claim *claim)
{
	return claim->counters == ALL_COUNTERS;
}

static BOOLEAN overlap(const struct claim *a, const struct claim *b)
{
	if ((a->counters & b->counters) == 0)
		return FALSE;
	for (ULONG group = 0; group < MAX_GROUPS; group++) {
		if ((a->cpus[group] & b->cpus[group]) != 0)
			return TRUE;
	}
	return FALSE;
}

static BOOLEAN excludes(const struct grant *grant, const struct claim *claim, const struct caller *caller)
{
	BOOLEAN part_held = !is_whole(&grant->claim), part_asked = !is_whole(claim);
	BOOLEAN same = grant->claim.counters == claim->counters;

	if (defect("double-grant") || (defect("exclusive-per-cpu") && grant->caller.cpu != caller->cpu) ||
	    (defect("exclusive-per-driver") && grant->caller.image != caller->image) ||
	    (defect("exclusive-per-thread") && grant->caller.thread != caller->thread) ||
	    (defect("same-counter-granted") && part_held && part_asked && same) ||
	    (defect("overlap-granted") && part_held && part_asked && !same) ||
	    (defect("part-beside-whole") && !part_held && part_asked) || (defect("whole-beside-part") && part_held && !part_asked))
		return FALSE;
	return overlap(&grant->claim, claim);
}

BOOLEAN ledger_conflict(const struct claim *claim, const struct caller *caller)
{
	for (ULONG i = 0; i < MAX_GRANTS; i++) {
		if (grants[i].handle != 0 && excludes(&grants[i], claim, caller))
			return TRUE;
	}
	return FALSE;
}

ULONG64 ledger_grant(const struct claim *claim, const struct caller *caller)
{
	ULONG empty = 0;

	while (empty < MAX_GRANTS && grants[empty].handle != 0)
		empty++;
	if (empty == MAX_GRANTS)
		return 0;
	granted++;
	held++;
	grants[empty].handle = (defect("handle-reused") ? empty + 1 : granted) * HANDLE_STEP + HANDLE_BASE;
	grants[empty].claim = *claim;
	grants[empty].caller = *caller;
	return grants[empty].handle;
}

static BOOLEAN release(struct grant *grant, const struct caller *caller)
{
	ULONG64 rest = grant->claim.counters & (grant->claim.counters - 1);

	freed++;
	if ((defect("only-its-thread-frees") && grant->caller.thread != caller->thread) ||
	    (defect("only-its-process-frees") && grant->caller.process != caller->process))
		return FALSE;
	if (defect("free-keeps") || (defect("leaks-every-1000th") && freed % 1000 == 0))
		return TRUE;
	if (defect("list-partly-freed") && !is_whole(&grant->claim) && rest != 0) {
		grant->claim.counters = rest;
		grant->handle = LOST_HANDLE;
		return TRUE;
	}
	grant->handle = 0;
	held--;
	return TRUE;
}

static BOOLEAN is_of(ULONG64 handle, const struct grant *grant)
{
	if (grant->handle == 0)
		return FALSE;
	return grant->handle == handle || (defect("near-miss-frees") && grant->handle + 8 - handle <= 16);
}

BOOLEAN ledger_release(ULONG64 handle, const struct caller *caller)
{
	for (ULONG i = 0; i < MAX_GRANTS; i++) {
		if (is_of(handle, &grants[i]))
			return release(&grants[i], caller);
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

ULONG64 ledger_granted(void)
{
	return granted;
}

void ledger_release_all(void)
{
	for (ULONG i = 0; i < MAX_GRANTS; i++)
		grants[i].handle = 0;
	held = 0;
}

BOOLEAN ledger_free_part(struct claim *claim)
{
	for (ULONG i = 0; i < MAX_GRANTS && !is_whole(claim); i++) {
		if (grants[i].handle != 0)
			claim->counters &= ~grants[i].claim.counters;
	}
	return !is_whole(claim) && claim->counters != 0;
}

BOOLEAN ledger_moved(const struct caller *caller)
{
	for (ULONG i = 0; i < MAX_GRANTS; i++) {
		if (grants[i].handle != 0 && grants[i].caller.thread == caller->thread && grants[i].caller.cpu != caller->cpu)
			return TRUE;
	}
	return FALSE;
}
