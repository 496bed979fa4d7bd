/* SPDX-License-Identifier: Apache-2.0 */
/* Commands for humans: one readable line, and an exit code. */
#include "client.h"

enum { EXIT_DOCUMENTED = 0, EXIT_OTHER = 1, EXIT_USAGE = 2 };

static char text[512];
static struct buffer line = { .text = text, .room = sizeof text };

static int finish(int code)
{
	buffer_text(&line, "\r\n");
	write_all(GetStdHandle(STD_OUTPUT_HANDLE), line.text, line.length);
	return code;
}

static int usage(void)
{
	buffer_text(&line, "usage: pmcctl info|allocate|free HANDLE|cycles N|facts [--device NAME], or: pmcctl serve [--port COM2]");
	return finish(EXIT_USAGE);
}

static int transport_failed(uint32_t error)
{
	buffer_text(&line, "the driver did not answer: Win32 error ");
	buffer_decimal(&line, error);
	return finish(EXIT_OTHER);
}

static const char *status_name(uint32_t status)
{
	switch (status) {
	case 0x00000000: return "STATUS_SUCCESS";
	case 0xC000009A: return "STATUS_INSUFFICIENT_RESOURCES";
	case 0xC000000D: return "STATUS_INVALID_PARAMETER";
	case 0xC00000BB: return "STATUS_NOT_SUPPORTED";
	default: return NULL;
	}
}

static int show_call(const char *verb, const struct pmctest_call *call)
{
	const char *name = status_name(call->status);

	buffer_text(&line, verb);
	buffer_text(&line, ": ");
	buffer_hex(&line, call->status, 8);
	buffer_text(&line, " ");
	buffer_text(&line, name != NULL ? name : "(not documented)");
	buffer_text(&line, ", handle ");
	buffer_hex(&line, call->handle, 1);
	buffer_text(&line, ", CPU ");
	buffer_decimal(&line, call->cpu);
	return finish(name != NULL ? EXIT_DOCUMENTED : EXIT_OTHER);
}

static int show_info(HANDLE device)
{
	struct pmctest_info info;
	uint32_t error = device_ask(device, PMCTEST_INFO, NULL, 0, &info, sizeof info, NULL);

	if (error != 0)
		return transport_failed(error);
	buffer_text(&line, "HalAllocateHardwareCounters ");
	buffer_text(&line, info.allocate_present ? "present" : "absent");
	buffer_text(&line, ", HalFreeHardwareCounters ");
	buffer_text(&line, info.free_present ? "present" : "absent");
	buffer_text(&line, ", ");
	buffer_decimal(&line, info.cpus);
	buffer_text(&line, " CPUs, held ");
	buffer_decimal(&line, info.held);
	buffer_text(&line, info.secured ? ", device secured" : ", device not secured");
	return finish(EXIT_DOCUMENTED);
}

static int show_cycles(HANDLE device, uint64_t count)
{
	const struct pmctest_cycles args = { .count = count > PMCTEST_MAX_CYCLES ? 0 : (uint32_t)count };
	struct pmctest_cycles_result result;
	uint32_t error = device_ask(device, PMCTEST_CYCLES, &args, sizeof args, &result, sizeof result, NULL);

	if (error != 0)
		return transport_failed(error);
	buffer_text(&line, "cycles: ");
	buffer_decimal(&line, result.completed);
	buffer_text(&line, " completed, ");
	buffer_decimal(&line, result.elapsed_us);
	buffer_text(&line, " us");
	if (result.deviated != 0) {
		buffer_text(&line, "; ended by ");
		return show_call("call", &result.deviation);
	}
	return finish(EXIT_DOCUMENTED);
}

static int show_facts(void)
{
	static char json[4096];
	struct buffer buffer = { .text = json, .room = sizeof json };
	struct exchange exchange = { .out = { &buffer, false } };

	json_open(&exchange.out, NULL, '{');
	op_facts(&exchange);
	json_close(&exchange.out, '}');
	buffer_text(&buffer, "\r\n");
	write_all(GetStdHandle(STD_OUTPUT_HANDLE), buffer.text, buffer.length);
	return failed(&exchange) ? EXIT_OTHER : EXIT_DOCUMENTED;
}

/* Decimal, or hexadecimal behind 0x. */
static bool number(const wchar_t *word, uint64_t *value)
{
	unsigned int base = word[0] == L'0' && (word[1] == L'x' || word[1] == L'X') ? 16 : 10;

	*value = 0;
	word += base == 16 ? 2 : 0;
	if (*word == 0)
		return false;
	for (; *word != 0; word++) {
		wchar_t lower = (wchar_t)(*word | 0x20);
		unsigned int digit = *word >= L'0' && *word <= L'9' ? (unsigned int)(*word - L'0') : lower >= L'a' && lower <= L'f' ? (unsigned int)(lower - L'a' + 10) : 99;

		if (digit >= base || *value > (UINT64_MAX - digit) / base)
			return false;
		*value = *value * base + digit;
	}
	return true;
}

static int call_driver(HANDLE device, const wchar_t *command, uint64_t value)
{
	struct pmctest_call call;
	uint32_t error;

	if (lstrcmpW(command, L"info") == 0)
		return show_info(device);
	if (lstrcmpW(command, L"cycles") == 0)
		return show_cycles(device, value);
	if (lstrcmpW(command, L"free") == 0) {
		error = device_free(device, value, &call);
		return error != 0 ? transport_failed(error) : show_call("free", &call);
	}
	error = device_allocate(device, &call); /* what is granted is freed when this process ends */
	return error != 0 ? transport_failed(error) : show_call("allocate", &call);
}

int one_shot(int count, wchar_t **words)
{
	const wchar_t *name = L"pmctest";
	uint64_t value = 0;
	uint32_t error;
	HANDLE device;
	bool numbered;

	if (count >= 2 && lstrcmpW(words[count - 2], L"--device") == 0) {
		name = words[count - 1];
		count -= 2;
	}
	if (count == 1 && lstrcmpW(words[0], L"facts") == 0)
		return show_facts();
	numbered = count == 2 && (lstrcmpW(words[0], L"free") == 0 || lstrcmpW(words[0], L"cycles") == 0) && number(words[1], &value);
	if (!numbered && !(count == 1 && (lstrcmpW(words[0], L"info") == 0 || lstrcmpW(words[0], L"allocate") == 0)))
		return usage();
	error = device_open(name, &device);
	if (error != 0)
		return transport_failed(error);
	return call_driver(device, words[0], value);
}
