/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that touch PMU registers: what counters did, and the guard of the driver. */
#include "client.h"

static void put_checks(struct json_writer *out, const struct pmu_counter *counter)
{
	json_open(out, "checks", '{');
	for (uint32_t i = 0; i < PMU_CHECKS; i++) {
		if ((counter->checked & 1u << i) != 0)
			json_put_bool(out, pmu_check_name(i), (counter->passed & 1u << i) != 0);
		else
			json_put_null(out, pmu_check_name(i));
	}
	json_close(out, '}');
}

static void put_counter(struct json_writer *out, const struct pmu_report *report, const struct pmu_counter *counter)
{
	char name[PMU_NAME_BYTES];

	pmu_counter_name(report->interface, counter, name);
	json_open(out, NULL, '{');
	json_put_string(out, "name", name);
	json_put_string(out, "event", pmu_event_name(report->interface, counter));
	json_put_string(out, "state", pmu_state_name(counter->state));
	json_put_hex(out, "count", counter->count);
	json_put_u32(out, "fault", counter->fault);
	if ((counter->checked & PMU_CHECK_RDPMC) != 0)
		json_put_hex(out, "rdpmc", counter->rdpmc);
	else
		json_put_null(out, "rdpmc");
	json_put_u32(out, "rdpmc_fault", counter->rdpmc_fault);
	put_checks(out, counter);
	json_close(out, '}');
}

static void put_result(struct json_writer *out, const struct pmctest_count_result *result)
{
	const struct pmu_report *report = &result->report;

	json_put_u32(out, "status", result->status);
	json_put_u32(out, "cpu", result->cpu);
	json_put_u32(out, "group", result->group);
	json_put_string(out, "interface", pmu_interface_name(report->interface));
	json_put_u32(out, "version", report->version);
	json_put_u32(out, "general", report->general);
	json_put_u32(out, "fixed", report->fixed);
	json_put_u32(out, "loop", report->loop);
	json_put_u32(out, "fault", report->fault);
	json_open(out, "counters", '[');
	for (uint32_t i = 0; i < report->counters && i < PMU_MAX_COUNTERS; i++)
		put_counter(out, report, &report->counter[i]);
	json_close(out, ']');
}

void op_count(struct exchange *exchange)
{
	static struct pmctest_count_result result;
	HANDLE device = arg_device(exchange);
	const struct pmctest_count args = { .loop = arg_u32(exchange, "loop"), .cpu = arg_u32_or(exchange, "cpu", PMCTEST_ANY_CPU) };
	uint32_t error;

	if (failed(exchange))
		return;
	error = device_ask(device, PMCTEST_COUNT, &args, sizeof args, &result, sizeof result, NULL);
	if (error != 0)
		fail_transport(exchange, error);
	else
		put_result(&exchange->out, &result);
}

void op_count_all(struct exchange *exchange)
{
	HANDLE device = arg_device(exchange);
	const struct pmctest_count args = { .loop = arg_u32(exchange, "loop"), .cpu = PMCTEST_ANY_CPU };
	const struct pmctest_count_all *all = (const void *)exchange->client->scratch;
	uint32_t error, written = 0;

	if (failed(exchange))
		return;
	error = device_ask(device, PMCTEST_COUNT_ALL, &args, sizeof args, exchange->client->scratch, SCRATCH_ROOM, &written);
	if (error == 0 && (written < sizeof *all || (written - sizeof *all) / sizeof all->result[0] != all->cpus))
		error = ERROR_INVALID_DATA;
	if (error != 0) {
		fail_transport(exchange, error);
		return;
	}
	json_open(&exchange->out, "cpus", '[');
	for (uint32_t i = 0; i < all->cpus; i++) {
		json_open(&exchange->out, NULL, '{');
		put_result(&exchange->out, &all->result[i]);
		json_close(&exchange->out, '}');
	}
	json_close(&exchange->out, ']');
}

void op_interrupt(struct exchange *exchange)
{
	static struct pmctest_count_result result;
	HANDLE device = arg_device(exchange);
	const struct pmctest_interrupt args = {
		.loop = arg_u32(exchange, "loop"),
		.cpu = arg_u32_or(exchange, "cpu", PMCTEST_ANY_CPU),
		.index = arg_u32(exchange, "index"),
	};
	uint32_t error;

	if (failed(exchange))
		return;
	error = device_ask(device, PMCTEST_INTERRUPT, &args, sizeof args, &result, sizeof result, NULL);
	if (error != 0)
		fail_transport(exchange, error);
	else
		put_result(&exchange->out, &result);
}

void op_guard(struct exchange *exchange)
{
	HANDLE device = arg_device(exchange);
	const struct pmctest_guard args = { .write = arg_is(exchange, "access", "write") };
	struct pmctest_guard_result result;
	uint32_t error;

	if (args.write == 0 && !arg_is(exchange, "access", "read"))
		fail_protocol(exchange, "access");
	if (failed(exchange))
		return;
	error = device_ask(device, PMCTEST_GUARD, &args, sizeof args, &result, sizeof result, NULL);
	if (error != 0) {
		fail_transport(exchange, error);
		return;
	}
	json_put_u32(&exchange->out, "status", result.status);
	json_put_u32(&exchange->out, "fault", result.fault);
}
