/* SPDX-License-Identifier: Apache-2.0 */
/* `ioctl.raw`: any I/O control request to an open device of the test driver, in bulk. What a fuzzer needs, and nothing that knows of it. */
#include "client.h"
#include "random.h"

#define MAX_INPUT 65536u  /* bytes of one input */
#define MAX_REPEAT 100000u
#define MAX_STATUSES 24u  /* different results of one row that are told apart */

_Static_assert(2u * MAX_INPUT <= SCRATCH_ROOM, "input and output of a request");

struct row {
	uint32_t code, random, repeat, output;
	uint64_t seed;
	uint32_t prefix; /* bytes of the input that are given, at the beginning of the scratch memory */
};

struct tally {
	uint32_t error[MAX_STATUSES], count[MAX_STATUSES], used;
};

static uint32_t row_u32(struct exchange *exchange, struct json row, const char *name, uint32_t otherwise, uint32_t most)
{
	struct json value;
	uint32_t number = otherwise;

	if (json_member(row, name, &value) && !json_is_null(value) && (!json_u32(value, &number) || number > most))
		fail_protocol(exchange, name);
	return number;
}

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Lower-case hexadecimal digits, two for a byte. Returns the number of bytes. */
static uint32_t read_bytes(struct exchange *exchange, struct json row, uint8_t *to)
{
	static char text[2 * MAX_INPUT + 1];
	struct json value;
	uint32_t length = 0;

	if (!json_member(row, "input", &value) || json_is_null(value))
		return 0;
	if (!json_string(value, text, sizeof text)) {
		fail_protocol(exchange, "input");
		return 0;
	}
	while (text[2 * length] != 0) {
		int high = digit(text[2 * length]), low = digit(text[2 * length + 1]);

		if (high < 0 || low < 0) {
			fail_protocol(exchange, "input");
			return 0;
		}
		to[length++] = (uint8_t)(high << 4 | low);
	}
	return length;
}

static struct row read_row(struct exchange *exchange, struct json item, uint8_t *input)
{
	struct row row = { 0 };
	struct json value;

	if (!json_is_object(item) || !json_member(item, "code", &value) || !json_u32(value, &row.code)) {
		fail_protocol(exchange, "code");
		return row;
	}
	row.prefix = read_bytes(exchange, item, input);
	row.random = row_u32(exchange, item, "random", 0, MAX_INPUT - row.prefix);
	row.repeat = row_u32(exchange, item, "repeat", 1, MAX_REPEAT);
	row.output = row_u32(exchange, item, "output", 0, SCRATCH_ROOM - MAX_INPUT);
	if (json_member(item, "seed", &value) && !json_is_null(value) && !json_hex(value, &row.seed))
		fail_protocol(exchange, "seed");
	return row;
}

static void tally(struct tally *tally, uint32_t error)
{
	uint32_t i = 0;

	while (i < tally->used && tally->error[i] != error)
		i++;
	if (i == MAX_STATUSES)
		i--; /* more than the driver has: the last one stands for the rest */
	if (i == tally->used) {
		tally->error[i] = error;
		tally->used++;
	}
	tally->count[i]++;
}

static uint64_t ticks(void)
{
	LARGE_INTEGER now;

	QueryPerformanceCounter(&now);
	return (uint64_t)now.QuadPart;
}

/* Returns the longest time that one request took, in ticks. */
static uint64_t run_row(HANDLE device, const struct row *row, uint8_t *input, uint8_t *output, struct tally *results)
{
	uint64_t longest = 0;

	for (uint32_t i = 0; i < row->repeat; i++) {
		DWORD returned = 0;
		uint64_t start, took;
		BOOL done;

		random_bytes(row->seed + i, input + row->prefix, row->random);
		start = ticks();
		done = DeviceIoControl(device, row->code, input, row->prefix + row->random, output, row->output, &returned, NULL);
		tally(results, done ? 0 : GetLastError());
		took = ticks() - start;
		longest = max(longest, took);
	}
	return longest;
}

static void put_tally(struct json_writer *out, const struct tally *results)
{
	json_open(out, NULL, '[');
	for (uint32_t i = 0; i < results->used; i++) {
		json_open(out, NULL, '[');
		json_put_u32(out, NULL, results->error[i]);
		json_put_u32(out, NULL, results->count[i]);
		json_close(out, ']');
	}
	json_close(out, ']');
}

void op_ioctl_raw(struct exchange *exchange)
{
	HANDLE device = arg_device(exchange);
	uint8_t *input = exchange->client->scratch, *output = input + MAX_INPUT;
	struct json list, key, item;
	const char *cursor = NULL;
	LARGE_INTEGER frequency;
	uint64_t longest = 0;

	if (!arg_given(exchange, "rows", &list) || !json_is_array(list))
		fail_protocol(exchange, "rows");
	if (failed(exchange))
		return;
	json_open(&exchange->out, "results", '[');
	while (json_next(list, &cursor, &key, &item)) {
		struct tally results = { 0 };
		struct row row = read_row(exchange, item, input);
		uint64_t took;

		if (failed(exchange))
			return;
		took = run_row(device, &row, input, output, &results);
		longest = max(longest, took);
		put_tally(&exchange->out, &results);
	}
	json_close(&exchange->out, ']');
	QueryPerformanceFrequency(&frequency);
	json_put_u32(&exchange->out, "longest_ms", (uint32_t)(longest * 1000 / (uint64_t)frequency.QuadPart));
}
