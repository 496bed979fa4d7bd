/* SPDX-License-Identifier: Apache-2.0 */
/* The conversation: one JSON object per line in, one out. */
#include "client.h"

extern const char *const client_arch;

static const struct {
	const char *name;
	const char *args; /* all that it takes, between spaces */
	operation *run;
} operations[] = {
	{ "hello", " ", op_hello },
	{ "facts", " ", op_facts },
	{ "system.state", " ", op_system_state },
	{ "clock.set", " time ", op_clock_set },
	{ "file.hash", " path ", op_file_hash },
	{ "file.list", " pattern ", op_file_list },
	{ "file.delete", " path ", op_file_delete },
	{ "process.run", " command folder timeout_ms ", op_process_run },
	{ "process.list", " ", op_process_list },
	{ "process.kill", " pid ", op_process_kill },
	{ "boot", " ", op_boot },
	{ "memory", " ", op_memory },
	{ "events.read", " channel since most ", op_events_read },
	{ "etw.sources", " ", op_etw_sources },
	{ "etw.start", " sources ", op_etw_start },
	{ "etw.stop", " ", op_etw_stop },
	{ "service.create", " name path group type ", op_service_create },
	{ "service.start", " name timeout_ms ", op_service_start },
	{ "service.stop", " name timeout_ms ", op_service_stop },
	{ "service.delete", " name ", op_service_delete },
	{ "service.query", " name ", op_service_query },
	{ "registry.set", " path name type value ", op_registry_set },
	{ "registry.get", " path name ", op_registry_get },
	{ "registry.delete", " path ", op_registry_delete },
	{ "hal.configure", " shared refuse defect ", op_hal_configure },
	{ "device.open", " name ", op_device_open },
	{ "device.close", " device ", op_device_close },
	{ "driver.info", " device ", op_driver_info },
	{ "allocate", " device affinity group_count resources cpu poison keep irql null_cell timeout_ms ", op_allocate },
	{ "leak", " device ", op_leak },
	{ "free", " device handle cpu worker irql any pool timeout_ms ", op_free },
	{ "cycles", " device count ", op_cycles },
	{ "race", " device threads rounds ", op_race },
	{ "race.client", " device other threads rounds timeout_ms ", op_race_client },
	{ "count", " device loop cpu ", op_count },
	{ "count.all", " device loop ", op_count_all },
	{ "interrupt", " device index loop cpu ", op_interrupt },
	{ "guard", " device access ", op_guard },
	{ "holdings", " device ", op_holdings },
	{ "overflows", " device ", op_overflows },
	{ "ioctl.raw", " device rows ", op_ioctl_raw },
	{ "holder.start", " device_name mode ", op_holder_start },
	{ "holder.kill", " ", op_holder_kill },
	{ "holder.free", " handle ", op_holder_free },
	{ "sequence", " steps ", op_sequence },
	{ "exit", " ", op_exit },
};

static char *memory_of(size_t bytes)
{
	return VirtualAlloc(NULL, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE); /* pages that are never used cost nothing */
}

/* Is the key one of the words? */
static bool listed(struct json key, const char *words)
{
	char word[32];

	for (size_t length = 0; *words != 0; words++) {
		if (*words != ' ' && length < sizeof word - 1) {
			word[length++] = *words;
			continue;
		}
		word[length] = 0;
		if (length != 0 && json_equals(key, word))
			return true;
		length = 0;
	}
	return false;
}

void run_operation(struct exchange *exchange, struct json request)
{
	static const char none[] = "{}";
	const char *cursor = NULL;
	struct json op, key, value;

	if (!json_member(request, "op", &op)) {
		fail_protocol(exchange, "op is missing");
		return;
	}
	if (!json_member(request, "args", &exchange->args))
		exchange->args = (struct json){ none, none + 2 };
	if (!json_is_object(exchange->args)) {
		fail_protocol(exchange, "args is not an object");
		return;
	}
	for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
		if (!json_equals(op, operations[i].name))
			continue;
		while (json_next(exchange->args, &cursor, &key, &value)) {
			if (!listed(key, operations[i].args)) {
				fail_protocol(exchange, "unknown argument");
				return;
			}
		}
		operations[i].run(exchange);
		return;
	}
	fail_protocol(exchange, "unknown op");
}

void put_error(struct json_writer *out, const struct failure *failure)
{
	json_open(out, "error", '{');
	json_put_string(out, "kind", failure->kind);
	json_put_u32(out, "code", failure->code);
	json_put_string(out, "what", failure->what);
	json_close(out, '}');
}

static void put_failure(struct buffer *answer, uint32_t id, const struct failure *failure)
{
	struct json_writer out = { answer, false };

	answer->length = 0;
	answer->full = false;
	json_open(&out, NULL, '{');
	json_put_u32(&out, "id", id);
	json_put_bool(&out, "ok", false);
	put_error(&out, failure);
	json_close(&out, '}');
	buffer_text(answer, "\n");
}

static void handle(struct client *client, const char *line, size_t length, struct buffer *answer)
{
	static const struct failure no_request = { "protocol", 0, "the line is no request" };
	static const struct failure too_long = { "protocol", 0, "the answer is too long" };
	struct exchange exchange = { .client = client, .out = { answer, false } };
	struct json request, value;
	uint32_t id;

	answer->length = 0;
	answer->full = false;
	if (!json_parse(line, length, &request) || !json_member(request, "id", &value) || !json_u32(value, &id)) {
		put_failure(answer, 0, &no_request);
		return;
	}
	json_open(&exchange.out, NULL, '{');
	json_put_u32(&exchange.out, "id", id);
	json_put_bool(&exchange.out, "ok", true);
	json_open(&exchange.out, "result", '{');
	run_operation(&exchange, request);
	json_close(&exchange.out, '}');
	json_close(&exchange.out, '}');
	buffer_text(answer, "\n");
	if (failed(&exchange))
		put_failure(answer, id, &exchange.failure);
	else if (answer->full)
		put_failure(answer, id, &too_long);
}

static void put_greeting(struct json_writer *out)
{
	json_put_string(out, "hello", "pmcctl");
	json_put_u32(out, "protocol", PROTOCOL_VERSION);
	json_put_string(out, "version", HALPMC_VERSION);
	json_put_string(out, "arch", client_arch);
	json_put_u32(out, "pid", GetCurrentProcessId());
}

/* For whoever joins a conversation whose greeting was long ago. */
void op_hello(struct exchange *exchange)
{
	put_greeting(&exchange->out);
}

static void greet(struct buffer *answer)
{
	struct json_writer out = { answer, false };

	json_open(&out, NULL, '{');
	put_greeting(&out);
	json_close(&out, '}');
	buffer_text(answer, "\n");
}

/* Lines out of a stream of bytes. Of a line that is too long only the length is kept; it is then handled as an empty one. */
struct reader {
	HANDLE from;
	bool port;
	char *line;
	size_t length;
	char block[4096];
	DWORD filled, used;
};

static bool fill(struct reader *reader)
{
	reader->used = reader->filled = 0;
	if (reader->port)
		return port_read(reader->from, reader->block, sizeof reader->block, &reader->filled);
	return ReadFile(reader->from, reader->block, sizeof reader->block, &reader->filled, NULL) && reader->filled != 0;
}

static bool read_line(struct reader *reader)
{
	reader->length = 0;
	for (;;) {
		char c;

		while (reader->used == reader->filled) {
			if (!fill(reader))
				return false;
		}
		c = reader->block[reader->used++];
		if (c == '\n')
			return true;
		if (reader->length < LINE_ROOM)
			reader->line[reader->length] = c;
		reader->length++;
	}
}

int serve(HANDLE from, HANDLE to, bool port)
{
	static struct client client;
	static struct reader reader;
	struct buffer answer = { .text = memory_of(ANSWER_ROOM), .room = ANSWER_ROOM };
	bool written = true;

	reader.from = from;
	reader.port = port;
	reader.line = memory_of(LINE_ROOM);
	client.scratch = (uint8_t *)memory_of(SCRATCH_ROOM);
	if (answer.text == NULL || reader.line == NULL || client.scratch == NULL)
		return 1;
	if (!port) { /* on a port nobody may be listening: whoever comes asks for it */
		greet(&answer);
		written = write_all(to, answer.text, answer.length);
	}
	while (written && !client.ended && read_line(&reader)) {
		handle(&client, reader.line, reader.length > LINE_ROOM ? 0 : reader.length, &answer);
		written = write_all(to, answer.text, answer.length);
	}
	holder_end(&client.holder);
	return written ? 0 : 1; /* the devices close with the process */
}
