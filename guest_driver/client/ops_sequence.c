/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `sequence`: many operations in one request, each as if it had come by itself. A step that fails does not end it. Whatever a step
 * opened or started is closed at the end, so that a sequence leaves nothing behind.
 */
#include "client.h"

#define MAX_STEPS 96u

/* What may be a step: the operations of callers of the two routines. None of them runs steps itself. */
static const char *const step_operations[] = {
	"device.open", "device.close", "driver.info", "allocate", "free", "holder.start", "holder.kill", "holder.free",
};

static bool may_be_step(struct json step)
{
	const char *cursor = NULL;
	struct json op, key, value;

	if (!json_is_object(step) || !json_member(step, "op", &op))
		return false;
	while (json_next(step, &cursor, &key, &value)) {
		if (!json_equals(key, "op") && !json_equals(key, "args"))
			return false;
	}
	for (size_t i = 0; i < sizeof step_operations / sizeof *step_operations; i++) {
		if (json_equals(op, step_operations[i]))
			return true;
	}
	return false;
}

/* {"ok": true, "result": {…}} or {"ok": false, "error": {…}}, as if the step had been asked by itself. */
static void run_step(struct exchange *sequence, struct json request, struct exchange *step)
{
	struct buffer *answer = sequence->out.buffer;
	struct json_writer *out = &sequence->out;
	size_t begin;

	json_open(out, NULL, '{');
	begin = answer->length;
	step->out = *out;
	json_put_bool(&step->out, "ok", true);
	json_open(&step->out, "result", '{');
	run_operation(step, request);
	json_close(&step->out, '}');
	if (failed(step)) {
		answer->length = begin;
		step->out.comma = false;
		json_put_bool(&step->out, "ok", false);
		put_error(&step->out, &step->failure);
	}
	json_close(out, '}');
}

/* Only steps run meanwhile: what has a number that one of them was given is theirs. */
static void close_devices_of(struct client *client, const struct made *made, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		HANDLE *device = made[i].device != 0 ? &client->devices[made[i].device - 1] : NULL;

		if (device != NULL && *device != NULL) {
			CloseHandle(*device);
			*device = NULL;
		}
	}
}

void op_sequence(struct exchange *exchange)
{
	static struct made made[MAX_STEPS];
	struct client *client = exchange->client;
	bool held_before = client->holder.process != NULL;
	const char *cursor = NULL;
	struct json steps, key, request;
	uint32_t count = 0;

	if (!arg_given(exchange, "steps", &steps) || !json_is_array(steps)) {
		fail_protocol(exchange, "steps");
		return;
	}
	while (json_next(steps, &cursor, &key, &request)) { /* all of them, before anything is done */
		if (++count > MAX_STEPS || !may_be_step(request)) {
			fail_protocol(exchange, count > MAX_STEPS ? "too many steps" : "what cannot be a step");
			return;
		}
	}
	json_open(&exchange->out, "answers", '[');
	cursor = NULL;
	for (count = 0; json_next(steps, &cursor, &key, &request); count++) {
		struct exchange step = { .client = client, .earlier = made, .steps = count };

		run_step(exchange, request, &step);
		made[count] = step.made;
	}
	json_close(&exchange->out, ']');
	if (!held_before)
		holder_end(&client->holder);
	close_devices_of(client, made, count);
}
