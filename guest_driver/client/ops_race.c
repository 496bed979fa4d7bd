/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that race for the counters: system threads of the driver (`race`), and threads of this program that ask through the driver
 * (`race.client`), as programs do. Both by the same rules and with the same log, see driver/race.c.
 */
#include "client.h"

#define EVENTS_PER_ROUND 4u
#define INSUFFICIENT_RESOURCES 0xC000009Au /* NTSTATUS */
_Static_assert(sizeof(struct pmctest_race_entry) * EVENTS_PER_ROUND * PMCTEST_MAX_THREADS * PMCTEST_MAX_ROUNDS <= SCRATCH_ROOM, "the longest log fits");

static void put_log(struct json_writer *out, const struct pmctest_race_entry *entries, uint32_t count)
{
	json_open(out, "log", '[');
	for (uint32_t i = 0; i < count; i++) {
		const struct pmctest_race_entry *entry = &entries[i];

		json_open(out, NULL, '[');
		json_put_u32(out, NULL, entry->sequence);
		json_put_u32(out, NULL, entry->thread);
		json_put_u32(out, NULL, entry->round);
		json_put_u32(out, NULL, entry->event);
		json_put_u32(out, NULL, entry->status);
		json_close(out, ']');
	}
	json_close(out, ']');
}

void op_race(struct exchange *exchange)
{
	struct json_writer *out = &exchange->out;
	HANDLE device = arg_device(exchange);
	const struct pmctest_race args = { .threads = arg_u32(exchange, "threads"), .rounds = arg_u32(exchange, "rounds") };
	const struct pmctest_race_result *result = (const void *)exchange->client->scratch;
	uint32_t error, written = 0;

	if (failed(exchange))
		return;
	error = device_ask(device, PMCTEST_RACE, &args, sizeof args, exchange->client->scratch, SCRATCH_ROOM, &written);
	if (error == 0 && (written < sizeof *result || (written - sizeof *result) / sizeof result->entry[0] != result->entries))
		error = ERROR_INVALID_DATA;
	if (error != 0) {
		fail_transport(exchange, error);
		return;
	}
	json_put_u32(out, "successes", result->successes);
	json_put_u32(out, "refusals", result->refusals);
	json_put_u32(out, "frees", result->frees);
	json_put_u32(out, "other", result->other);
	put_log(out, result->entry, result->entries);
}

/* One race at a time. What was given up once is given up for ever: its threads are still under way. */
static struct {
	uint32_t threads, rounds;
	volatile LONG started;   /* arrivals at the start of a round, over all rounds */
	volatile LONG attempted; /* arrivals after the attempt, over all even rounds */
	volatile LONG stop, sequence, successes, refusals, frees, other;
	volatile LONG error; /* the transport's first */
	struct pmctest_race_entry *entry;
	volatile bool given_up;
} race;

static struct racer {
	HANDLE device, thread;
	uint8_t number;
} racers[PMCTEST_MAX_THREADS];

static void note(const struct racer *racer, uint32_t round, uint8_t event, uint32_t status)
{
	uint32_t sequence = (uint32_t)InterlockedIncrement(&race.sequence) - 1;

	if (race.given_up) /* the room for the log has other uses by now */
		return;
	race.entry[sequence] = (struct pmctest_race_entry){
		.sequence = sequence,
		.round = (uint16_t)round,
		.thread = racer->number,
		.event = event,
		.status = status,
	};
}

/* Wait until `target` arrivals were counted; FALSE when the race was stopped. */
static bool meet(volatile LONG *arrivals, uint32_t target)
{
	InterlockedIncrement(arrivals);
	for (uint32_t spins = 1; (uint32_t)InterlockedOr(arrivals, 0) < target; spins++) {
		if (InterlockedOr(&race.stop, 0) != 0)
			return false;
		if (spins % 64 == 0)
			Sleep(spins < 4096 ? 0 : 1); /* where calls take long, who waits is not to take their CPU */
	}
	return true;
}

/* Without its transport a call has no status, and the race no log. */
static bool stop_for(uint32_t error)
{
	if (error != 0) {
		InterlockedCompareExchange(&race.error, (LONG)error, 0);
		InterlockedExchange(&race.stop, 1);
	}
	return error != 0;
}

static void run_round(const struct racer *racer, uint32_t round)
{
	struct pmctest_call asked, freed;

	note(racer, round, PMCTEST_ALLOCATING, 0);
	if (stop_for(device_allocate(racer->device, &asked)))
		return;
	note(racer, round, asked.status == 0 ? PMCTEST_ALLOCATED : PMCTEST_REFUSED, asked.status);
	InterlockedIncrement(asked.status == 0 ? &race.successes : asked.status == INSUFFICIENT_RESOURCES ? &race.refusals : &race.other);
	if (round % 2 == 0)
		meet(&race.attempted, race.threads * (round / 2 + 1));
	if (asked.status != 0)
		return;
	note(racer, round, PMCTEST_FREEING, 0);
	if (stop_for(device_free(racer->device, asked.handle, &freed)))
		return;
	note(racer, round, PMCTEST_FREED, freed.status);
	InterlockedIncrement(freed.status == 0 ? &race.frees : &race.other);
	if (freed.status != 0)
		InterlockedExchange(&race.stop, 1); /* nobody can win any more */
}

static DWORD WINAPI run(void *context)
{
	const struct racer *racer = context;

	for (uint32_t round = 0; round < race.rounds && meet(&race.started, race.threads * (round + 1)); round++)
		run_round(racer, round);
	return 0;
}

/* 0, or the Win32 error that the race ended with. */
static uint32_t run_all(const HANDLE device[2], uint32_t timeout_ms)
{
	uint64_t end = GetTickCount64() + timeout_ms;

	for (uint32_t i = 0; i < race.threads; i++) {
		racers[i] = (struct racer){ .device = device[i % 2], .number = (uint8_t)i };
		racers[i].thread = CreateThread(NULL, 0, run, &racers[i], 0, NULL);
		if (racers[i].thread == NULL)
			stop_for(GetLastError()); /* those that were started would wait for the others for ever */
	}
	for (uint32_t i = 0; i < race.threads; i++) {
		uint64_t now = GetTickCount64();

		if (racers[i].thread == NULL)
			continue;
		if (WaitForSingleObject(racers[i].thread, now < end ? (DWORD)(end - now) : 0) != WAIT_OBJECT_0)
			race.given_up = true;
		CloseHandle(racers[i].thread);
	}
	InterlockedExchange(&race.stop, 1);
	return race.given_up ? ERROR_TIMEOUT : (uint32_t)race.error;
}

void op_race_client(struct exchange *exchange)
{
	struct json_writer *out = &exchange->out;
	const HANDLE device = arg_device(exchange);
	const uint32_t other = arg_u32_or(exchange, "other", 0);
	const uint32_t threads = arg_u32(exchange, "threads"), rounds = arg_u32(exchange, "rounds");
	const uint32_t timeout_ms = arg_u32(exchange, "timeout_ms");
	HANDLE devices[2] = { device, device };
	uint32_t error;

	if (other != 0)
		devices[1] = other <= MAX_DEVICES ? exchange->client->devices[other - 1] : NULL;
	if (!failed(exchange) && devices[1] == NULL)
		fail_protocol(exchange, "other");
	if (!failed(exchange) && (threads == 0 || threads > PMCTEST_MAX_THREADS || rounds == 0 || rounds > PMCTEST_MAX_ROUNDS))
		fail_protocol(exchange, "threads, rounds");
	if (!failed(exchange) && race.given_up)
		fail_transport(exchange, ERROR_TIMEOUT);
	if (failed(exchange))
		return;
	race.threads = threads;
	race.rounds = rounds;
	race.started = race.attempted = race.stop = race.sequence = race.error = 0;
	race.successes = race.refusals = race.frees = race.other = 0;
	race.entry = (void *)exchange->client->scratch;
	error = run_all(devices, timeout_ms);
	if (error != 0) {
		fail_transport(exchange, error);
		return;
	}
	json_put_u32(out, "successes", (uint32_t)race.successes);
	json_put_u32(out, "refusals", (uint32_t)race.refusals);
	json_put_u32(out, "frees", (uint32_t)race.frees);
	json_put_u32(out, "other", (uint32_t)race.other);
	put_log(out, race.entry, (uint32_t)race.sequence);
}
