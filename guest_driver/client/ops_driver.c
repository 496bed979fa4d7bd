/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on an open device of the test driver. */
#include "client.h"

void fail_transport(struct exchange *exchange, uint32_t error)
{
	fail(exchange, "win32", error, "DeviceIoControl");
}

void op_device_open(struct exchange *exchange)
{
	wchar_t name[PMCTEST_NAME_CHARS + 1];
	uint32_t number = 0, error;
	HANDLE device;

	arg_wide(exchange, "name", name, PMCTEST_NAME_CHARS + 1);
	while (number < MAX_DEVICES && exchange->client->devices[number] != NULL)
		number++;
	if (number == MAX_DEVICES)
		fail_protocol(exchange, "too many devices are open");
	if (failed(exchange))
		return;
	error = device_open(name, &device);
	if (error != 0) {
		fail(exchange, "win32", error, "CreateFile");
		return;
	}
	exchange->client->devices[number] = device;
	exchange->made.device = number + 1;
	json_put_u32(&exchange->out, "device", number + 1);
}

void op_device_close(struct exchange *exchange)
{
	HANDLE device = arg_device(exchange);

	if (device == NULL)
		return;
	exchange->client->devices[arg_device_number(exchange) - 1] = NULL;
	if (!CloseHandle(device))
		fail_win32(exchange, "CloseHandle");
}

void op_driver_info(struct exchange *exchange)
{
	struct json_writer *out = &exchange->out;
	HANDLE device = arg_device(exchange);
	struct pmctest_info info;
	uint32_t error;

	if (device == NULL)
		return;
	error = device_ask(device, PMCTEST_INFO, NULL, 0, &info, sizeof info, NULL);
	if (error == 0 && info.abi != PMCTEST_ABI)
		error = ERROR_REVISION_MISMATCH;
	if (error != 0) {
		fail_transport(exchange, error);
		return;
	}
	info.version[sizeof info.version - 1] = info.arch[sizeof info.arch - 1] = 0;
	json_put_u32(out, "abi", info.abi);
	json_put_string(out, "version", info.version);
	json_put_string(out, "arch", info.arch);
	json_put_bool(out, "allocate_present", info.allocate_present != 0);
	json_put_bool(out, "free_present", info.free_present != 0);
	json_put_u32(out, "cpus", info.cpus);
	json_put_u32(out, "groups", info.groups);
	json_put_u32(out, "held", info.held);
	json_put_hex(out, "pool_bytes", info.pool_bytes);
	json_put_bool(out, "secured", info.secured != 0);
	json_put_bool(out, "shared_layout", info.shared_layout != 0);
	json_put_u32(out, "loop_max", info.loop_max);
	json_put_bool(out, "destructive", info.destructive != 0);
	json_put_string(out, "pmu_interface", pmu_interface_name(info.pmu_interface));
	json_put_u32(out, "pmu_version", info.pmu_version);
	json_put_bool(out, "pmu_understood", info.understood != 0);
	json_put_string(out, "routines_in", info.image == PMCTEST_IMAGE_KERNEL ? "kernel" : info.image == PMCTEST_IMAGE_OTHER ? "other" : "unknown");
}

void op_holdings(struct exchange *exchange)
{
	static const char *const owners[] = { "driver", "self", "other" };
	struct json_writer *out = &exchange->out;
	HANDLE device = arg_device(exchange);
	const struct pmctest_holdings *result = (const void *)exchange->client->scratch;
	uint32_t error, written = 0;

	if (failed(exchange))
		return;
	error = device_ask(device, PMCTEST_HOLDINGS, NULL, 0, exchange->client->scratch, SCRATCH_ROOM, &written);
	if (error == 0 && (written < sizeof *result || (written - sizeof *result) / sizeof result->held[0] != result->entries))
		error = ERROR_INVALID_DATA;
	if (error != 0) {
		fail_transport(exchange, error);
		return;
	}
	json_open(out, "held", '[');
	for (uint32_t i = 0; i < result->entries; i++) {
		const struct pmctest_held *held = &result->held[i];

		json_open(out, NULL, '{');
		json_put_hex(out, "handle", held->handle);
		json_put_string(out, "owner", held->owner < 3 ? owners[held->owner] : "?");
		json_put_u32(out, "file", held->file);
		json_put_bool(out, "whole", held->whole != 0);
		json_close(out, '}');
	}
	json_close(out, ']');
}

void op_overflows(struct exchange *exchange)
{
	struct json_writer *out = &exchange->out;
	HANDLE device = arg_device(exchange);
	struct pmctest_overflows result;
	uint32_t error;

	if (failed(exchange))
		return;
	error = device_ask(device, PMCTEST_OVERFLOWS, NULL, 0, &result, sizeof result, NULL);
	if (error != 0) {
		fail_transport(exchange, error);
		return;
	}
	json_put_hex(out, "calls", result.calls);
	json_put_hex(out, "lost", result.lost);
	json_open(out, "owners", '[');
	for (uint32_t i = 0; i < PMCTEST_OVERFLOW_OWNERS && result.owner[i].calls != 0; i++) {
		json_open(out, NULL, '{');
		json_put_hex(out, "handle", result.owner[i].handle);
		json_put_hex(out, "calls", result.owner[i].calls);
		json_put_hex(out, "bits", result.owner[i].bits);
		json_close(out, '}');
	}
	json_close(out, ']');
}

void op_free(struct exchange *exchange)
{
	HANDLE device = arg_device(exchange);
	const struct pmctest_free args = {
		.handle = arg_handle(exchange),
		.cpu = arg_u32_or(exchange, "cpu", PMCTEST_ANY_CPU),
		.flags = (arg_bool_or(exchange, "worker", false) ? PMCTEST_FREE_WORKER : 0) |
			 (arg_at_dispatch(exchange) ? PMCTEST_FREE_DISPATCH : 0) |
			 (arg_bool_or(exchange, "any", false) ? PMCTEST_FREE_ANY : 0) |
			 (arg_bool_or(exchange, "pool", false) ? PMCTEST_FREE_POOL : 0),
	};
	struct pmctest_free *request = (void *)exchange->client->scratch; /* outlives this function, as a request that hangs does */
	struct pmctest_call call;
	uint32_t timeout_ms = arg_u32_or(exchange, "timeout_ms", 0), error;

	if (failed(exchange))
		return;
	*request = args;
	error = device_call(device, PMCTEST_FREE, request, sizeof *request, timeout_ms, &call);
	put_call(&exchange->out, &call, error);
}

void op_cycles(struct exchange *exchange)
{
	HANDLE device = arg_device(exchange);
	const struct pmctest_cycles args = { .count = arg_u32(exchange, "count") };
	struct pmctest_cycles_result result;
	uint32_t error;

	if (failed(exchange))
		return;
	error = device_ask(device, PMCTEST_CYCLES, &args, sizeof args, &result, sizeof result, NULL);
	if (error != 0) {
		fail_transport(exchange, error);
		return;
	}
	json_put_u32(&exchange->out, "completed", result.completed);
	if (result.deviated != 0) {
		json_open(&exchange->out, "first_deviation", '{');
		put_call(&exchange->out, &result.deviation, 0);
		json_close(&exchange->out, '}');
	} else {
		json_put_null(&exchange->out, "first_deviation");
	}
	json_put_hex(&exchange->out, "elapsed_us", result.elapsed_us);
}
