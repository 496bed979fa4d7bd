/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the PMU core that is the same on every architecture: work a counter as its recipe says, and judge what it showed. */
#include "pmu_internal.h"

static void note_fault(struct pmu_report *report, struct pmu_counter *counter, uint32_t fault)
{
	if (report->fault == 0)
		report->fault = fault;
	if (counter->fault == 0)
		counter->fault = fault;
	counter->state = PMU_FAULTED;
}

uint64_t pmu_read(struct pmu_report *report, struct pmu_counter *counter, uint32_t op, uint32_t reg)
{
	uint64_t value = 0;
	uint32_t fault;

	if (counter->fault != 0)
		return 0;
	fault = pmu_guarded(op, reg, &value);
	if (fault != 0) {
		note_fault(report, counter, fault);
		return 0;
	}
	return value;
}

void pmu_write(struct pmu_report *report, struct pmu_counter *counter, uint32_t op, uint32_t reg, uint64_t value)
{
	uint32_t fault;

	if (counter->fault != 0)
		return;
	fault = pmu_guarded(op, reg, &value);
	if (fault != 0)
		note_fault(report, counter, fault);
}

struct pmu_counter *pmu_entry(struct pmu_report *report, uint32_t kind, uint32_t index, uint32_t event)
{
	struct pmu_counter *counter;

	if (report->counters >= PMU_MAX_COUNTERS)
		return 0;
	counter = &report->counter[report->counters++];
	counter->kind = kind;
	counter->index = index;
	counter->event = event;
	counter->state = PMU_DEAD;
	counter->count = 0;
	counter->fault = 0;
	counter->checked = counter->passed = 0;
	counter->rdpmc_fault = 0;
	counter->rdpmc = 0;
	return counter;
}

void pmu_observe(struct pmu_report *report, uint32_t kind, uint32_t index, uint32_t op, uint32_t reg)
{
	struct pmu_counter *counter = pmu_entry(report, kind, index, 0);
	uint64_t before, after;

	if (!counter)
		return;
	before = pmu_read(report, counter, op, reg);
	if (counter->fault != 0)
		return;
	pmu_loop(report->loop);
	after = pmu_read(report, counter, op, reg);
	if (counter->fault == 0)
		counter->count = after - before;
}

static void write_all(struct pmu_report *report, struct pmu_counter *counter, const struct pmu_recipe *recipe,
		      const struct pmu_write *writes, uint32_t count)
{
	for (uint32_t i = 0; i < count && i < PMU_STEPS; i++)
		pmu_write(report, counter, recipe->write_op, writes[i].reg, writes[i].value);
}

static void make_events(struct pmu_report *report, struct pmu_counter *counter, const struct pmu_recipe *recipe)
{
	if (recipe->expectation != PMU_EXACT) {
		pmu_loop(report->loop);
		return;
	}
	for (uint32_t i = 0; i < PMU_SOFTWARE_WRITES; i++)
		pmu_write(report, counter, recipe->write_op, recipe->trigger.reg, recipe->trigger.value);
}

static int in_range(uint32_t expectation, uint64_t count, uint32_t loop)
{
	uint64_t least = (uint64_t)loop * PMU_LOOP_INSTRUCTIONS;

	switch (expectation) {
	case PMU_INSTRUCTIONS:
		return count > 0 && count >= least && count <= least + (uint64_t)loop * (PMU_LOOP_INSTRUCTIONS / 5u) + PMU_LOOP_SLACK;
	case PMU_NONZERO:
		return count > 0;
	case PMU_EXACT:
		return count == PMU_SOFTWARE_WRITES;
	default:
		return 0;
	}
}

static void check(struct pmu_counter *counter, enum pmu_check which, int passed)
{
	counter->checked |= which;
	counter->passed = passed ? counter->passed | which : counter->passed & ~(uint32_t)which;
}

static int passed(const struct pmu_counter *counter, uint32_t checks)
{
	return (counter->passed & checks) == checks;
}

static uint64_t mask_of(const struct pmu_recipe *recipe)
{
	return recipe->width >= 64u ? ~0ull : (1ull << recipe->width) - 1u;
}

static void try_once(struct pmu_report *report, struct pmu_counter *counter, const struct pmu_recipe *recipe)
{
	uint64_t before, stopped, later, reset;

	write_all(report, counter, recipe, recipe->clear, recipe->clear_count);
	before = pmu_read(report, counter, recipe->read_op, recipe->value);
	write_all(report, counter, recipe, recipe->start, recipe->start_count);
	make_events(report, counter, recipe);
	write_all(report, counter, recipe, recipe->stop, recipe->stop_count);
	stopped = pmu_read(report, counter, recipe->read_op, recipe->value);
	if (recipe->has_rdpmc)
		counter->rdpmc_fault = pmu_guarded(PMU_RDPMC, recipe->rdpmc, &counter->rdpmc);
	make_events(report, counter, recipe);
	later = pmu_read(report, counter, recipe->read_op, recipe->value);
	pmu_write(report, counter, recipe->write_op, recipe->value, 0);
	make_events(report, counter, recipe);
	reset = pmu_read(report, counter, recipe->read_op, recipe->value);
	if (counter->fault != 0)
		return;
	counter->count = (stopped - before) & mask_of(recipe);
	check(counter, PMU_CHECK_STARTED, counter->count != 0);
	check(counter, PMU_CHECK_IN_RANGE, in_range(recipe->expectation, counter->count, report->loop));
	check(counter, PMU_CHECK_STOPPED, later == stopped);
	check(counter, PMU_CHECK_RESET, reset == 0);
	if (recipe->has_rdpmc)
		check(counter, PMU_CHECK_RDPMC, counter->rdpmc_fault == 0 && counter->rdpmc == stopped);
	counter->state = passed(counter, PMU_CHECK_STARTED | PMU_CHECK_IN_RANGE | PMU_CHECK_STOPPED) ? PMU_COUNTING : PMU_DEAD;
}

/* A fault of the status registers makes a failed check, never a faulted counter: it has shown already that it counts. */
static int overflow_bit(const struct pmu_recipe *recipe, int *faulted)
{
	uint64_t status = 0;

	if (pmu_guarded(recipe->read_op, recipe->status, &status) != 0)
		*faulted = 1;
	return (status & recipe->status_bit) != 0;
}

/*
 * Wrap early in the loop, whatever it took before: on a busy host an emulator's cycles go on while it does not run. No interrupt:
 * nothing here ever sets an interrupt enable.
 */
static void try_overflow(struct pmu_report *report, struct pmu_counter *counter, const struct pmu_recipe *recipe)
{
	uint64_t bit = recipe->status_bit, steps = (counter->count < report->loop ? counter->count : report->loop) / 64 + 1;
	int faulted = 0, set, left;

	if (bit == 0 || counter->state != PMU_COUNTING || overflow_bit(recipe, &faulted)) /* set before us: it could not be put back */
		return;
	write_all(report, counter, recipe, recipe->clear, recipe->clear_count);
	pmu_write(report, counter, recipe->write_op, recipe->value, (0 - steps) & mask_of(recipe));
	write_all(report, counter, recipe, recipe->start, recipe->start_count);
	make_events(report, counter, recipe);
	write_all(report, counter, recipe, recipe->stop, recipe->stop_count);
	set = overflow_bit(recipe, &faulted);
	if (pmu_guarded(recipe->write_op, recipe->status_clear, &bit) != 0)
		faulted = 1;
	left = overflow_bit(recipe, &faulted);
	check(counter, PMU_CHECK_OVERFLOW, set && !left && !faulted);
}

/* What was saved, even after a fault in between; a fault here is noted, and the rest is still restored. */
static void restore(struct pmu_report *report, struct pmu_counter *counter, const struct pmu_recipe *recipe, const uint64_t *saved,
		    uint32_t count)
{
	int same = 1;

	if (count == 0)
		return;
	while (count > 0) {
		uint64_t value = saved[--count], found = ~value;
		uint32_t fault = pmu_guarded(recipe->write_op, recipe->saved[count], &value);

		if (fault == 0)
			fault = pmu_guarded(recipe->read_op, recipe->saved[count], &found);
		if (fault != 0)
			note_fault(report, counter, fault);
		same = same && found == saved[count];
	}
	check(counter, PMU_CHECK_RESTORED, same);
}

void pmu_run(struct pmu_report *report, const struct pmu_recipe *recipe)
{
	struct pmu_counter *counter = pmu_entry(report, recipe->kind, recipe->index, recipe->event);
	uint64_t saved[PMU_STEPS];
	uint32_t done = 0;

	if (!counter)
		return;
	while (done < recipe->saved_count && done < PMU_STEPS) {
		saved[done] = pmu_read(report, counter, recipe->read_op, recipe->saved[done]);
		if (counter->fault != 0)
			break;
		if (recipe->saved[done] == recipe->enable)
			check(counter, PMU_CHECK_AT_REST, (saved[done] & recipe->enable_bits) == 0);
		done++;
	}
	/* Only a count above 0 is worth another try: noise adds to a living counter, and never wakes a dead one. */
	for (uint32_t i = 0; i < PMU_MAX_TRIES && counter->fault == 0; i++) {
		try_once(report, counter, recipe);
		if (counter->state != PMU_DEAD || counter->count == 0)
			break;
	}
	if (counter->fault == 0)
		try_overflow(report, counter, recipe);
	restore(report, counter, recipe, saved, done);
}

static void measure_one(struct pmu_visitor *visitor, struct pmu_report *report, const struct pmu_recipe *recipe)
{
	(void)visitor;
	pmu_run(report, recipe);
}

void pmu_measure(struct pmu_report *report, uint32_t loop)
{
	struct pmu_visitor each = { measure_one };
	uint32_t counting = 0;

	pmu_describe(report);
	report->loop = loop;
	pmu_each_counter(report, &each);
	for (uint32_t i = 0; i < report->counters; i++)
		counting += report->counter[i].state == PMU_COUNTING;
	if (report->interface == PMU_AMD && report->general == 0 && counting == 0) {
		report->interface = PMU_NONE;
		report->width = 0;
	}
}
