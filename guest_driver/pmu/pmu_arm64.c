/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aarch64: PMUv3 (Arm ARM, "The Performance Monitors Extension"), through the register names that EL0 may be allowed to use, so that
 * the same code runs at EL1 (the probe, a Windows driver) and at EL0 (the driver in the embedded guest, where PMUSERENR_EL0 allows it).
 * Overflow interrupts (PMINTENSET_EL1, EL1 only) are enabled by pmu_interrupt() alone; the PMU probe has its own test of them.
 *
 * Present means that PMCR_EL0 answers without a fault, and, above EL0, that ID_AA64DFR0_EL1.PMUVer says so too: QEMU answers PMCR_EL0
 * at EL1 even with pmu=off, and Linux hides PMUVer from EL0 (reads 0). CurrentEL is undefined at EL0, and reads 0 there in QEMU.
 */
#include "pmu_arm64.h"
#include "pmu_internal.h"

#if defined(__aarch64__)

#define PMCR_ENABLE (1ull << 0)
#define PMCR_DIVIDER (1ull << 3)
#define PMCR_DISABLE_IN_PROHIBITED (1ull << 5)
#define PMCR_LONG_CYCLE (1ull << 6)
#define PMCR_COUNTERS(pmcr) ((uint32_t)((pmcr) >> 11 & 0x1fu))
#define CYCLE_BIT (1ull << 31)
#define PMU_VERSION(id_aa64dfr0) ((uint32_t)((id_aa64dfr0) >> 8 & 0xfu))
#define PMU_VERSION_OTHER 0xfu /* a PMU, but not PMUv3 */

#define NOT_AT_EL1 (1ull << 31) /* in the type and filter registers: P */

#define EVENT_SW_INCR 0x00u
#define EVENT_INST_RETIRED 0x08u
#define EVENT_CPU_CYCLES 0x11u

#define READ(name) __asm__ volatile("isb\n\tmrs %0, " name : "=r"(*value) : : "memory")
#define WRITE(name) __asm__ volatile("msr " name ", %0\n\tisb" : : "r"(*value) : "memory")
#define CASE(number, name)            \
	case number:                  \
		if (write)            \
			WRITE(name);  \
		else                  \
			READ(name);   \
		return

/* Counter and type registers go through PMSELR_EL0, which is left as it was. */
static void indexed(int write, int type, uint64_t index, uint64_t *value)
{
	uint64_t selected;

	__asm__ volatile("mrs %0, pmselr_el0" : "=r"(selected) : : "memory");
	__asm__ volatile("msr pmselr_el0, %0\n\tisb" : : "r"(index) : "memory");
	if (type) {
		if (write)
			WRITE("pmxevtyper_el0");
		else
			READ("pmxevtyper_el0");
	} else {
		if (write)
			WRITE("pmxevcntr_el0");
		else
			READ("pmxevcntr_el0");
	}
	__asm__ volatile("msr pmselr_el0, %0\n\tisb" : : "r"(selected) : "memory");
}

void pmu_raw(uint32_t op, uint32_t reg, uint64_t *value)
{
	int write = op == PMU_SYSREG_WRITE;

	if (!write)
		*value = 0;
	if (op != PMU_SYSREG_READ && !write)
		return;
	if (reg - PMU_EVCNTR0 < PMU_ARM_MAX_EVENT_COUNTERS) {
		indexed(write, 0, reg - PMU_EVCNTR0, value);
		return;
	}
	if (reg - PMU_EVTYPER0 < PMU_ARM_MAX_EVENT_COUNTERS) {
		indexed(write, 1, reg - PMU_EVTYPER0, value);
		return;
	}
	switch (reg) {
	CASE(PMU_PMCR, "pmcr_el0");
	CASE(PMU_PMCNTENSET, "pmcntenset_el0");
	CASE(PMU_PMCNTENCLR, "pmcntenclr_el0");
	CASE(PMU_PMCCNTR, "pmccntr_el0");
	CASE(PMU_PMCCFILTR, "pmccfiltr_el0");
	CASE(PMU_PMOVSCLR, "pmovsclr_el0");
	CASE(PMU_PMOVSSET, "pmovsset_el0");
	CASE(PMU_PMINTENSET, "pmintenset_el1");
	CASE(PMU_PMINTENCLR, "pmintenclr_el1");
	case PMU_PMSWINC:
		if (write)
			WRITE("pmswinc_el0");
		return;
	case PMU_PMCEID0:
		if (!write)
			READ("pmceid0_el0");
		return;
	case PMU_PMCEID1:
		if (!write)
			READ("pmceid1_el0");
		return;
	case PMU_ID_AA64DFR0:
		if (!write)
			READ("id_aa64dfr0_el1");
		return;
	case PMU_MIDR:
		if (!write)
			READ("midr_el1");
		return;
	case PMU_CURRENT_EL:
		if (!write)
			READ("CurrentEL");
		return;
	default:
		return;
	}
}

void pmu_loop(uint32_t iterations)
{
	if (iterations == 0)
		return;
	__asm__ volatile("1:\n\t"
			 "nop\n\tnop\n\tnop\n\tnop\n\tnop\n\tnop\n\tnop\n\tnop\n\t"
			 "subs %w0, %w0, #1\n\t"
			 "b.ne 1b"
			 : "+r"(iterations)
			 :
			 : "cc", "memory");
}

void pmu_describe(struct pmu_report *report)
{
	uint64_t pmcr = 0, features = 0, level = 0;
	uint32_t version, fault;

	report->interface = PMU_NONE;
	report->version = report->general = report->fixed = report->width = 0;
	report->loop = report->counters = report->fault = 0;
	fault = pmu_guarded(PMU_SYSREG_READ, PMU_PMCR, &pmcr);
	if (fault != 0) {
		report->fault = fault;
		return;
	}
	if (pmu_guarded(PMU_SYSREG_READ, PMU_ID_AA64DFR0, &features) != 0)
		features = 0;
	version = PMU_VERSION(features);
	if (pmu_guarded(PMU_SYSREG_READ, PMU_CURRENT_EL, &level) != 0)
		level = 0;
	if (level != 0 && (version == 0 || version == PMU_VERSION_OTHER))
		return;
	report->interface = PMU_ARM_V3;
	report->version = version; /* at EL0 under Linux 0: not told */
	report->general = PMCR_COUNTERS(pmcr);
	report->fixed = 1;
	report->width = 32;
}

int pmu_understood(const struct pmu_report *report)
{
	(void)report; /* each version of PMUv3 contains the ones before */
	return 1;
}

uint32_t pmu_provoke(int write)
{
	uint64_t value = 0;

	return write ? pmu_guarded(PMU_SYSREG_WRITE, PMU_PMCNTENCLR, &value) : pmu_guarded(PMU_SYSREG_READ, PMU_PMCR, &value);
}

/* The control register (type or filter), the value register, and the counter's bit in the enable masks. */
static void run(struct pmu_visitor *visitor, struct pmu_report *report, uint64_t pmcr, struct pmu_recipe *recipe, uint32_t control, uint32_t value, uint64_t bit,
		uint64_t filter)
{
	uint64_t enabled = (pmcr & ~(PMCR_DIVIDER | PMCR_DISABLE_IN_PROHIBITED)) | PMCR_ENABLE | PMCR_LONG_CYCLE;

	recipe->read_op = PMU_SYSREG_READ;
	recipe->write_op = PMU_SYSREG_WRITE;
	recipe->value = value;
	recipe->status = recipe->status_clear = PMU_PMOVSCLR;
	recipe->status_bit = bit;
	/* Writing back the saved mask to the set register is exact: only our bit was changed, and stop has cleared it. */
	recipe->saved[0] = PMU_PMCNTENSET;
	recipe->saved[1] = PMU_PMCR;
	recipe->saved[2] = control;
	recipe->saved[3] = value;
	recipe->saved_count = 4;
	recipe->enable = PMU_PMCNTENSET;
	recipe->enable_bits = bit;
	recipe->clear[0] = (struct pmu_write){ PMU_PMCNTENCLR, bit };
	recipe->clear[1] = (struct pmu_write){ control, recipe->event | filter };
	recipe->clear[2] = (struct pmu_write){ value, 0 };
	recipe->clear_count = 3;
	recipe->start[0] = (struct pmu_write){ PMU_PMCR, enabled };
	recipe->start[1] = (struct pmu_write){ PMU_PMCNTENSET, bit };
	recipe->start_count = 2;
	recipe->stop[0] = (struct pmu_write){ PMU_PMCNTENCLR, bit };
	recipe->stop_count = 1;
	recipe->arm = (struct pmu_write){ PMU_PMINTENSET, bit };
	recipe->disarm = (struct pmu_write){ PMU_PMINTENCLR, bit };
	visitor->visit(visitor, report, recipe);
}

/* At EL0 nothing that runs at EL1 belongs to the caller: without its interrupts a count is the caller's own. */
static uint64_t filter_here(void)
{
	uint64_t level = 0;

	return pmu_guarded(PMU_SYSREG_READ, PMU_CURRENT_EL, &level) == 0 && level != 0 ? 0 : NOT_AT_EL1;
}

void pmu_each_counter(struct pmu_report *report, struct pmu_visitor *visitor)
{
	static const struct {
		uint32_t event, expectation;
	} events[] = {
		{ EVENT_CPU_CYCLES, PMU_NONZERO },
		{ EVENT_INST_RETIRED, PMU_INSTRUCTIONS },
		{ EVENT_SW_INCR, PMU_EXACT },
	};
	uint64_t pmcr = 0, implemented = 0, filter = filter_here();

	if (report->interface != PMU_ARM_V3) {
		pmu_observe(report, PMU_CYCLE, 0, PMU_SYSREG_READ, PMU_PMCCNTR);
		return;
	}
	if (pmu_guarded(PMU_SYSREG_READ, PMU_PMCR, &pmcr) != 0 || pmu_guarded(PMU_SYSREG_READ, PMU_PMCEID0, &implemented) != 0)
		return;
	/* The cycle counter's register is a filter only: its event has no number. */
	run(visitor, report, pmcr, &(struct pmu_recipe){ .kind = PMU_CYCLE, .width = 64, .expectation = PMU_NONZERO }, PMU_PMCCFILTR, PMU_PMCCNTR,
	    CYCLE_BIT, filter);
	for (uint32_t e = 0; e < sizeof events / sizeof *events; e++) {
		if (!(implemented >> events[e].event & 1u))
			continue;
		for (uint32_t i = 0; i < report->general && i < PMU_ARM_MAX_EVENT_COUNTERS; i++)
			run(visitor, report, pmcr,
			    &(struct pmu_recipe){ .kind = PMU_GENERAL, .index = i, .event = events[e].event, .width = report->width,
						  .expectation = events[e].expectation, .trigger = { PMU_PMSWINC, 1ull << i } },
			    PMU_EVTYPER0 + i, PMU_EVCNTR0 + i, 1ull << i, filter);
	}
}
#endif
