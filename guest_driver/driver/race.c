/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System threads that race for the counters. All threads start a round together. In even rounds a winner keeps its grant until
 * every thread has tried; in odd rounds it frees at once, so that a free races with the other allocates. The next round starts
 * when everyone is done, hence with nothing held.
 *
 * Every step draws a number from one interlocked sequence, before a call that starts and after a call that ended. Between the
 * numbers of ALLOCATED and FREEING a thread surely holds: two such spans that overlap are two holders at once.
 */
#include "driver.h"

#define EVENTS_PER_ROUND 4u
#define POISON 0xAAAAAAAAAAAAAAAAull

struct race {
	const struct request *request;
	ULONG threads, rounds;
	volatile LONG started;   /* arrivals at the start of a round, over all rounds */
	volatile LONG attempted; /* arrivals after the attempt, over all even rounds */
	volatile LONG stop;
	volatile LONG sequence;
	volatile LONG successes, refusals, frees, other;
	struct pmctest_race_entry *entry;
};

struct racer {
	struct race *race;
	UCHAR number;
	HANDLE unfreed; /* a grant whose free failed */
	struct thread thread;
};

static void note(struct racer *racer, ULONG round, UCHAR event, ULONG status)
{
	ULONG sequence = (ULONG)InterlockedIncrement(&racer->race->sequence) - 1;

	racer->race->entry[sequence] = (struct pmctest_race_entry){
		.sequence = sequence,
		.round = (USHORT)round,
		.thread = racer->number,
		.event = event,
		.status = status,
	};
}

static void give_way(void)
{
	LARGE_INTEGER none = { .QuadPart = 0 };

	if (routines.yield != NULL)
		routines.yield();
	else
		KeDelayExecutionThread(KernelMode, FALSE, &none);
}

/* Wait until `target` arrivals were counted; FALSE when the race was stopped. */
static BOOLEAN meet(struct race *race, volatile LONG *arrivals, ULONG target)
{
	InterlockedIncrement(arrivals);
	for (ULONG spins = 1; (ULONG)InterlockedOr(arrivals, 0) < target; spins++) {
		if (InterlockedOr(&race->stop, 0) != 0 || request_cancelled(race->request))
			return FALSE;
		YieldProcessor();
		if (spins % 256 == 0)
			give_way();
	}
	return TRUE;
}

static void run_round(struct racer *racer, ULONG round)
{
	struct race *race = racer->race;
	HANDLE handle;
	NTSTATUS allocated, freed;

	note(racer, round, PMCTEST_ALLOCATING, 0);
	allocated = bare_allocate(POISON, &handle);
	if (NT_SUCCESS(allocated)) {
		note(racer, round, PMCTEST_ALLOCATED, (ULONG)allocated);
		InterlockedIncrement(&race->successes);
	} else {
		note(racer, round, PMCTEST_REFUSED, (ULONG)allocated);
		InterlockedIncrement(allocated == STATUS_INSUFFICIENT_RESOURCES ? &race->refusals : &race->other);
	}
	if (round % 2 == 0)
		meet(race, &race->attempted, race->threads * (round / 2 + 1));
	if (!NT_SUCCESS(allocated))
		return;
	note(racer, round, PMCTEST_FREEING, 0);
	freed = bare_free(handle);
	note(racer, round, PMCTEST_FREED, (ULONG)freed);
	if (NT_SUCCESS(freed)) {
		InterlockedIncrement(&race->frees);
	} else {
		InterlockedIncrement(&race->other);
		racer->unfreed = handle;
		InterlockedExchange(&race->stop, 1); /* nobody can win any more */
	}
}

/* Spread over the CPUs by us: a scheduler may well run them all on one, where they never race. */
static void run(void *context)
{
	struct racer *racer = context;
	struct race *race = racer->race;
	struct pin pin;

	if (!NT_SUCCESS(cpu_pin(racer->number % cpu_count(), &pin)))
		pin.pinned = FALSE;
	for (ULONG round = 0; round < race->rounds && meet(race, &race->started, race->threads * (round + 1)); round++)
		run_round(racer, round);
	cpu_unpin(&pin);
}

static NTSTATUS run_all(struct request *request, struct race *race)
{
	struct racer racers[PMCTEST_MAX_THREADS] = { 0 };
	NTSTATUS status = STATUS_SUCCESS;

	for (ULONG i = 0; i < race->threads && NT_SUCCESS(status); i++) {
		racers[i].race = race;
		racers[i].number = (UCHAR)i;
		status = thread_start(&racers[i].thread, run, &racers[i]);
	}
	if (!NT_SUCCESS(status))
		InterlockedExchange(&race->stop, 1); /* those that were started would wait for the others for ever */
	for (ULONG i = 0; i < race->threads; i++) {
		struct holding *holding;

		thread_join(&racers[i].thread);
		if (racers[i].unfreed == NULL)
			continue;
		holding = holding_prepare(request->instance);
		if (holding != NULL && !holding_keep(request->instance, holding, request->file, racers[i].unfreed))
			holding_discard(request->instance, holding);
	}
	return status;
}

NTSTATUS request_race(struct request *request)
{
	const struct pmctest_race args = *(const struct pmctest_race *)request->buffer;
	struct pmctest_race_result *result = request->buffer;
	struct race race = { .request = request, .threads = args.threads, .rounds = args.rounds, .entry = result->entry };
	ULONG room;
	NTSTATUS status;

	if (args.threads == 0 || args.threads > PMCTEST_MAX_THREADS || args.rounds == 0 || args.rounds > PMCTEST_MAX_ROUNDS)
		return STATUS_INVALID_PARAMETER;
	room = args.threads * args.rounds * EVENTS_PER_ROUND;
	if (request->out < sizeof *result + room * sizeof result->entry[0])
		return STATUS_BUFFER_TOO_SMALL;
	status = run_all(request, &race);
	if (!NT_SUCCESS(status))
		return status;
	if (request_cancelled(request))
		return STATUS_CANCELLED;
	*result = (struct pmctest_race_result){
		.successes = (ULONG)race.successes,
		.refusals = (ULONG)race.refusals,
		.frees = (ULONG)race.frees,
		.other = (ULONG)race.other,
		.entries = (ULONG)race.sequence,
	};
	request->written = (ULONG)(sizeof *result + result->entries * sizeof result->entry[0]);
	return STATUS_SUCCESS;
}
