/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One overflow with its interrupt enabled, for whoever has a handler for it. Others may own the counters beside this one: a register
 * that is shared with them is changed in this counter's bits alone.
 */
#include "pmu_internal.h"

struct interrupter {
	struct pmu_visitor visitor; /* first: it is what a visit is told */
	uint32_t index;
	int tried;
};

static void set_bits(struct pmu_report *report, struct pmu_counter *counter, const struct pmu_recipe *recipe, uint64_t bits)
{
	uint64_t now = pmu_read(report, counter, recipe->read_op, recipe->shared);

	pmu_write(report, counter, recipe->write_op, recipe->shared, (now & ~recipe->shared_bits) | (bits & recipe->shared_bits));
}

static void write_some(struct pmu_report *report, struct pmu_counter *counter, const struct pmu_recipe *recipe,
		       const struct pmu_write *writes, uint32_t count, uint64_t interrupt)
{
	for (uint32_t i = 0; i < count && i < PMU_STEPS; i++) {
		if (recipe->shared != 0 && writes[i].reg == recipe->shared)
			set_bits(report, counter, recipe, writes[i].value);
		else
			pmu_write(report, counter, recipe->write_op, writes[i].reg,
				  writes[i].value | (writes[i].reg == recipe->enable ? interrupt : 0));
	}
}

static void one_write(struct pmu_report *report, struct pmu_counter *counter, const struct pmu_recipe *recipe, struct pmu_write write)
{
	if (write.reg != 0)
		pmu_write(report, counter, recipe->write_op, write.reg, write.value);
}

static void restore(struct pmu_report *report, struct pmu_counter *counter, const struct pmu_recipe *recipe, const uint64_t *saved,
		    uint32_t count)
{
	while (count > 0) {
		uint64_t value = saved[--count];

		if (recipe->shared != 0 && recipe->saved[count] == recipe->shared)
			set_bits(report, counter, recipe, value);
		else
			pmu_write(report, counter, recipe->write_op, recipe->saved[count], value);
	}
}

/* The counter is written so that it wraps in the loop's first half, even if it counts only one event per iteration. */
static void visit(struct pmu_visitor *visitor, struct pmu_report *report, const struct pmu_recipe *recipe)
{
	struct interrupter *it = (struct interrupter *)visitor;
	uint64_t mask = recipe->width >= 64u ? ~0ull : (1ull << recipe->width) - 1u, saved[PMU_STEPS], start;
	struct pmu_counter *counter;
	uint32_t done = 0;

	if (it->tried || recipe->kind != PMU_GENERAL || recipe->index != it->index || recipe->expectation == PMU_EXACT)
		return;
	it->tried = 1;
	counter = pmu_entry(report, recipe->kind, recipe->index, recipe->event);
	if (!counter)
		return;
	while (done < recipe->saved_count && done < PMU_STEPS && counter->fault == 0) {
		saved[done] = pmu_read(report, counter, recipe->read_op, recipe->saved[done]);
		done += counter->fault == 0;
	}
	start = (0ull - (report->loop / 2 + 1)) & mask;
	write_some(report, counter, recipe, recipe->clear, recipe->clear_count, 0);
	pmu_write(report, counter, recipe->write_op, recipe->value, start);
	one_write(report, counter, recipe, recipe->arm);
	write_some(report, counter, recipe, recipe->start, recipe->start_count, recipe->interrupt_bits);
	pmu_loop(report->loop);
	write_some(report, counter, recipe, recipe->stop, recipe->stop_count, 0);
	one_write(report, counter, recipe, recipe->disarm);
	counter->count = (pmu_read(report, counter, recipe->read_op, recipe->value) - start) & mask;
	if (counter->fault == 0 && counter->count > report->loop / 2)
		counter->state = PMU_COUNTING;
	restore(report, counter, recipe, saved, done);
}

void pmu_interrupt(struct pmu_report *report, uint32_t index, uint32_t loop)
{
	struct interrupter it = { .visitor = { visit }, .index = index };

	pmu_describe(report);
	report->loop = loop;
	if (report->interface != PMU_NONE)
		pmu_each_counter(report, &it.visitor);
}
