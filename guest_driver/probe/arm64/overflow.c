/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Overflow interrupts at EL1, where a driver on Windows runs: each counter that counts is made to wrap with its interrupt disabled and
 * enabled, and the interrupt is taken by a handler of the probe's own. Of a driver at EL0 (PMINTENSET_EL1 is undefined there) nothing
 * of this can be asked.
 */
#include "../../pmu/pmu.h"
#include "../../pmu/pmu_arm64.h"
#include "../probe.h"
#include "gic.h"

#define ALL 0xffffffffull
#define CYCLE_BIT (1ull << 31)
#define EVENT_SW_INCR 0u
#define PMCR_ON (1ull << 0 | 1ull << 6) /* enable; the cycle counter has 64 bits */
#define WAIT 20000u                     /* iterations of the loop: time for an interrupt, where none or no second one is expected */
#define PATIENCE 1000u                  /* so many times WAIT for one that is: on a busy host an emulator brings it late */
#define STORM 8u                        /* an interrupt that comes again and again is switched off */

static volatile uint32_t interrupts, number;
static volatile uint64_t status;

/* Called by the interrupt vector. It may have interrupted a guard, so it must not use one. */
void probe_interrupt(void);
void probe_interrupt(void)
{
	uint32_t id = gic_acknowledge();
	uint64_t bits = 0;

	if (id >= GIC_SPECIAL)
		return;
	interrupts++;
	number = id;
	pmu_raw(PMU_SYSREG_READ, PMU_PMOVSSET, &bits);
	status = bits;
	pmu_raw(PMU_SYSREG_WRITE, PMU_PMOVSCLR, &bits);
	if (interrupts >= STORM)
		gic_disable(id);
	gic_end(id);
}

static uint64_t get(uint32_t reg)
{
	uint64_t value = 0;

	pmu_guarded(PMU_SYSREG_READ, reg, &value);
	return value;
}

static void set(uint32_t reg, uint64_t value)
{
	pmu_guarded(PMU_SYSREG_WRITE, reg, &value);
}

/* Time for an expected interrupt to come, and for one that nobody expects. */
static void wait(int expected)
{
	for (uint32_t i = 0; expected && !interrupts && i < PATIENCE; i++)
		pmu_loop(WAIT);
	pmu_loop(WAIT);
}

/* One wrap of the counter, and time for an interrupt to come. */
static void wrap(const struct pmu_report *report, const struct pmu_counter *counter, uint64_t bit, int expected)
{
	int cycle = counter->kind == PMU_CYCLE, software = !cycle && counter->event == EVENT_SW_INCR;
	/* Early in the loop, whatever it took before: on a busy host an emulator's cycles go on while it does not run. */
	uint64_t steps = (counter->count < report->loop ? counter->count : report->loop) / 64 + 1;

	interrupts = number = 0;
	status = 0;
	set(PMU_PMCNTENCLR, bit);
	set(cycle ? PMU_PMCCFILTR : PMU_EVTYPER0 + counter->index, cycle ? 0 : counter->event);
	set(cycle ? PMU_PMCCNTR : PMU_EVCNTR0 + counter->index, (0 - (software ? 1 : steps)) & (cycle ? ~0ull : ALL));
	set(PMU_PMCNTENSET, bit);
	if (software)
		set(PMU_PMSWINC, bit);
	else
		pmu_loop(report->loop);
	set(PMU_PMCNTENCLR, bit);
	wait(expected);
}

static int taken(uint64_t bit)
{
	return interrupts == 1 && number == GIC_PMU && status == bit && (get(PMU_PMOVSSET) & bit) == 0 && (get(PMU_PMOVSCLR) & bit) == 0;
}

static void try(const struct pmu_report *report, const struct pmu_counter *counter, struct probe_overflow *out)
{
	uint64_t bit = counter->kind == PMU_CYCLE ? CYCLE_BIT : 1ull << counter->index;

	wrap(report, counter, bit, 0);
	out->masked = interrupts == 0 && (get(PMU_PMOVSSET) & get(PMU_PMOVSCLR) & bit) != 0;
	set(PMU_PMOVSCLR, bit);
	out->cleared = (get(PMU_PMOVSSET) & bit) == 0;

	set(PMU_PMINTENSET, bit);
	out->enabled = get(PMU_PMINTENSET) == bit && get(PMU_PMINTENCLR) == bit;
	wrap(report, counter, bit, 1);
	out->delivered = taken(bit);
	out->interrupts = interrupts;
	out->number = number;
	out->status = status;

	interrupts = number = 0;
	set(PMU_PMOVSSET, bit);
	wait(1);
	out->by_software = taken(bit);

	set(PMU_PMINTENCLR, bit);
	out->disabled = get(PMU_PMINTENSET) == 0 && get(PMU_PMINTENCLR) == 0;
}

const char *probe_overflows(const struct pmu_report *report, probe_overflow_done *done)
{
	if (report->interface != PMU_ARM_V3)
		return "there is no PMU";
	set(PMU_PMINTENCLR, ALL);
	set(PMU_PMOVSCLR, ALL);
	set(PMU_PMCR, PMCR_ON);
	gic_enable(GIC_PMU);
	__asm__ volatile("msr daifclr, #2" : : : "memory");
	for (uint32_t i = 0; i < report->counters; i++) {
		struct probe_overflow result = { 0 };

		if (report->counter[i].state != PMU_COUNTING)
			continue;
		try(report, &report->counter[i], &result);
		done(report, &report->counter[i], &result);
	}
	__asm__ volatile("msr daifset, #2" : : : "memory");
	gic_disable(GIC_PMU);
	return 0;
}
