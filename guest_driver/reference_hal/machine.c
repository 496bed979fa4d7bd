/* SPDX-License-Identifier: Apache-2.0 */
/* The machine as far as the contract depends on it: its PMU and its processors. */
#include "reference.h"
#include "../pmu/pmu.h"

void machine_describe(struct machine *machine)
{
	struct pmu_report report = { 0 };
	ULONG groups = KeQueryActiveGroupCount();

	pmu_describe(&report);
	/* AMD's four legacy counters are announced by nothing, so that an AMD CPU model alone proves no PMU. */
	*machine = (struct machine){ .has_pmu = report.interface != PMU_NONE && (report.interface != PMU_AMD || report.general != 0) };
	machine->counters = machine->has_pmu && report.general != 0 ? min(report.general, MAX_COUNTERS) : MODEL_COUNTERS;
	machine->groups = min(groups, MAX_GROUPS);
	for (ULONG group = 0; group < machine->groups; group++) {
		ULONG cpus = KeQueryActiveProcessorCountEx((USHORT)group);

		machine->active[group] = cpus >= 64 ? ~0ull : (1ull << cpus) - 1;
	}
}
