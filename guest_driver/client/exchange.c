/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments of a request, and its failure. */
#include "client.h"

bool failed(const struct exchange *exchange)
{
	return exchange->failure.kind != NULL;
}

void fail(struct exchange *exchange, const char *kind, uint32_t code, const char *what)
{
	if (!failed(exchange))
		exchange->failure = (struct failure){ kind, code, what };
}

void fail_win32(struct exchange *exchange, const char *what)
{
	fail(exchange, "win32", GetLastError(), what);
}

void fail_protocol(struct exchange *exchange, const char *what)
{
	fail(exchange, "protocol", 0, what);
}

bool arg_given(struct exchange *exchange, const char *name, struct json *value)
{
	return json_member(exchange->args, name, value) && !json_is_null(*value);
}

uint32_t arg_u32_or(struct exchange *exchange, const char *name, uint32_t otherwise)
{
	struct json value;
	uint32_t number = 0;

	if (!arg_given(exchange, name, &value))
		return otherwise;
	if (!json_u32(value, &number))
		fail_protocol(exchange, name);
	return number;
}

uint32_t arg_u32(struct exchange *exchange, const char *name)
{
	struct json value;

	if (!arg_given(exchange, name, &value))
		fail_protocol(exchange, name);
	return arg_u32_or(exchange, name, 0);
}

uint64_t arg_hex_or(struct exchange *exchange, const char *name, uint64_t otherwise)
{
	struct json value;
	uint64_t number = 0;

	if (!arg_given(exchange, name, &value))
		return otherwise;
	if (!json_hex(value, &number))
		fail_protocol(exchange, name);
	return number;
}

uint64_t arg_hex(struct exchange *exchange, const char *name)
{
	struct json value;

	if (!arg_given(exchange, name, &value))
		fail_protocol(exchange, name);
	return arg_hex_or(exchange, name, 0);
}

/* The step that a reference {"step": n} names; NULL, with a failure, when there is none. */
static const struct made *arg_step(struct exchange *exchange, struct json reference, const char *name)
{
	struct json value;
	uint32_t step = 0;

	if (!json_member(reference, "step", &value) || !json_u32(value, &step) || step >= exchange->steps) {
		fail_protocol(exchange, name);
		return NULL;
	}
	return &exchange->earlier[step];
}

uint32_t arg_device_number(struct exchange *exchange)
{
	const struct made *made;
	struct json value;

	if (!arg_given(exchange, "device", &value) || !json_is_object(value))
		return arg_u32(exchange, "device");
	made = arg_step(exchange, value, "device: step");
	return made != NULL ? made->device : 0;
}

uint64_t arg_handle(struct exchange *exchange)
{
	const struct made *made;
	struct json value;

	if (!arg_given(exchange, "handle", &value) || !json_is_object(value))
		return arg_hex(exchange, "handle");
	made = arg_step(exchange, value, "handle: step");
	if (made != NULL && !made->has_handle)
		fail_protocol(exchange, "the step gave no handle");
	return made != NULL ? made->handle : 0;
}

bool arg_bool_or(struct exchange *exchange, const char *name, bool otherwise)
{
	struct json value;
	bool truth = false;

	if (!arg_given(exchange, name, &value))
		return otherwise;
	if (!json_bool(value, &truth))
		fail_protocol(exchange, name);
	return truth;
}

bool arg_is(struct exchange *exchange, const char *name, const char *word)
{
	struct json value;

	return arg_given(exchange, name, &value) && json_equals(value, word);
}

void arg_wide(struct exchange *exchange, const char *name, wchar_t *text, size_t room)
{
	static char utf8[3 * COMMAND_ROOM]; /* requests are handled one at a time */
	struct json value;

	text[0] = 0;
	if (!arg_given(exchange, name, &value) || !json_string(value, utf8, sizeof utf8) ||
	    MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, utf8, -1, text, (int)room) == 0)
		fail_protocol(exchange, name);
}

void put_wide(struct exchange *exchange, const char *name, const wchar_t *text)
{
	static char utf8[3 * VALUE_ROOM];

	if (WideCharToMultiByte(CP_UTF8, 0, text, -1, utf8, sizeof utf8, NULL, NULL) == 0)
		fail_win32(exchange, name);
	else
		json_put_string(&exchange->out, name, utf8);
}
