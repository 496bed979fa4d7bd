/* SPDX-License-Identifier: Apache-2.0 */
/* The words of the JSON answers: one vocabulary for the PMU probe and for the client of the test driver. */
#include "pmu.h"

const char *pmu_interface_name(uint32_t interface)
{
	switch (interface) {
	case PMU_NONE: return "none";
	case PMU_INTEL_ARCH: return "intel-arch";
	case PMU_AMD: return "amd";
	case PMU_AMD_V2: return "amd-v2";
	case PMU_ARM_V3: return "pmuv3";
	default: return "?";
	}
}

const char *pmu_state_name(uint32_t state)
{
	switch (state) {
	case PMU_DEAD: return "dead";
	case PMU_COUNTING: return "counting";
	case PMU_FAULTED: return "faulted";
	default: return "?";
	}
}

const char *pmu_check_name(uint32_t number)
{
	static const char *const names[PMU_CHECKS] = { "started", "in_range", "stopped", "reset", "rdpmc", "overflow", "restored", "at_rest" };

	return number < PMU_CHECKS ? names[number] : "?";
}

const char *pmu_event_name(uint32_t interface, const struct pmu_counter *counter)
{
	static const char *const fixed[] = { "instructions", "cycles", "ref-cycles", "slots" };

	if (counter->kind == PMU_CYCLE)
		return "cycles";
	if (counter->kind == PMU_FIXED)
		return counter->index < sizeof fixed / sizeof *fixed ? fixed[counter->index] : "?";
	if (interface == PMU_ARM_V3) {
		switch (counter->event) {
		case 0x00: return "sw-incr";
		case 0x08: return "instructions";
		case 0x11: return "cycles";
		default: return "?";
		}
	}
	switch (counter->event) {
	case 0x00: return "unprogrammed";
	case 0x3c: return "cycles";
	case 0xc0: return "instructions";
	default: return "?";
	}
}

void pmu_counter_name(uint32_t interface, const struct pmu_counter *counter, char name[PMU_NAME_BYTES])
{
	const char *stem = counter->kind == PMU_CYCLE ? "cycle" :
			   counter->kind == PMU_FIXED ? "fixed" :
			   interface == PMU_ARM_V3    ? "event" : "gp";
	char digits[10]; /* of a 32-bit number */
	uint32_t length = 0, count = 0, index = counter->index;

	while (*stem)
		name[length++] = *stem++;
	if (counter->kind != PMU_CYCLE) {
		do {
			digits[count++] = (char)('0' + index % 10u);
			index /= 10u;
		} while (index != 0);
		while (count != 0)
			name[length++] = digits[--count];
	}
	name[length] = 0; /* at most 5 + 10 + 1 = PMU_NAME_BYTES */
}
