/* SPDX-License-Identifier: Apache-2.0 */
/* The answer line. Its reader is harness/probe/run.py. */
#include <stddef.h>

#include "../pmu/pmu.h"
#include "probe.h"

/* 10 instructions each: long enough to drown the guards, short enough for an emulator. */
#define LOOP 20000u

static void put_text(const char *text)
{
	while (*text)
		probe_put(*text++);
}

static void put_hex(uint64_t value)
{
	int shift = 60;

	put_text("0x");
	while (shift > 0 && (value >> shift & 0xf) == 0)
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		probe_put("0123456789abcdef"[value >> shift & 0xf]);
}

static void put_field(const char *key, uint32_t value)
{
	put_text(",\"");
	put_text(key);
	put_text("\":\"");
	put_hex(value);
	put_text("\"");
}

static void put_word(const char *key, const char *value)
{
	put_text("\"");
	put_text(key);
	put_text("\":\"");
	put_text(value);
	put_text("\"");
}

static int first_register;

void probe_register(const char *name, uint32_t leaf, const char *part, uint64_t value)
{
	put_text(first_register ? "\"" : ",\"");
	first_register = 0;
	put_text(name);
	if (part) {
		put_text(".");
		put_hex(leaf);
		put_text(".");
		put_text(part);
	}
	put_text("\":\"");
	put_hex(value);
	put_text("\"");
}

static void put_counter(const struct pmu_report *report, const struct pmu_counter *counter)
{
	char name[PMU_NAME_BYTES];

	pmu_counter_name(report->interface, counter, name);
	put_text("{");
	put_word("name", name);
	put_text(",");
	put_word("event", pmu_event_name(report->interface, counter));
	put_text(",");
	put_word("state", pmu_state_name(counter->state));
	put_text(",\"count\":\"");
	put_hex(counter->count);
	put_text("\"");
	put_field("fault", counter->fault);
	put_text(",\"checks\":{");
	for (uint32_t i = 0; i < PMU_CHECKS; i++) {
		uint32_t bit = 1u << i;

		put_text(i > 0 ? ",\"" : "\"");
		put_text(pmu_check_name(i));
		put_text(counter->checked & bit ? counter->passed & bit ? "\":true" : "\":false" : "\":null");
	}
	put_text("}}");
}

static void put_flag(const char *key, uint32_t flag)
{
	put_text("\"");
	put_text(key);
	put_text(flag ? "\":true" : "\":false");
}

static int first_overflow = 1;

static void put_overflow(const struct pmu_report *report, const struct pmu_counter *counter, const struct probe_overflow *result)
{
	char name[PMU_NAME_BYTES];

	pmu_counter_name(report->interface, counter, name);
	put_text(first_overflow ? "{" : ",{");
	first_overflow = 0;
	put_word("name", name);
	put_text(",");
	put_word("event", pmu_event_name(report->interface, counter));
	put_field("interrupts", result->interrupts);
	put_field("number", result->number);
	put_text(",\"status\":\"");
	put_hex(result->status);
	put_text("\",\"checks\":{");
	put_flag("enabled", result->enabled);
	put_text(",");
	put_flag("disabled", result->disabled);
	put_text(",");
	put_flag("masked", result->masked);
	put_text(",");
	put_flag("cleared", result->cleared);
	put_text(",");
	put_flag("delivered", result->delivered);
	put_text(",");
	put_flag("by_software", result->by_software);
	put_text("}}");
}

_Noreturn void probe_main(void)
{
	static struct pmu_report report;
	const char *untried;

	pmu_measure(&report, LOOP);
	put_text("{");
	put_word("probe", probe_arch);
	put_text(",");
	put_word("interface", pmu_interface_name(report.interface));
	put_field("version", report.version);
	put_field("general", report.general);
	put_field("fixed", report.fixed);
	put_field("width", report.width);
	put_field("loop", report.loop);
	put_field("fault", report.fault);
	put_text(",\"counters\":[");
	for (uint32_t i = 0; i < report.counters; i++) {
		if (i > 0)
			put_text(",");
		put_counter(&report, &report.counter[i]);
	}
	put_text("],\"overflows\":[");
	untried = probe_overflows(&report, put_overflow);
	put_text("],");
	put_word("overflows_untried", untried ? untried : "");
	put_text(",\"registers\":{");
	first_register = 1;
	probe_registers();
	put_text("}}\n");
	probe_off();
}

/* May come in the middle of an answer: the reader looks for it at the end of the line. */
_Noreturn void probe_died(uint64_t what, uint64_t where)
{
	put_text("{");
	put_word("probe", probe_arch);
	put_text(",\"died\":\"");
	put_hex(what);
	put_text("\",\"where\":\"");
	put_hex(where);
	put_text("\"}\n");
	probe_off();
}

/* The compiler may call these for structures, whatever the options. */
void *memset(void *to, int byte, size_t count)
{
	volatile unsigned char *p = to;

	while (count--)
		*p++ = (unsigned char)byte;
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
	volatile unsigned char *p = to;
	const unsigned char *q = from;

	while (count--)
		*p++ = *q++;
	return to;
}
