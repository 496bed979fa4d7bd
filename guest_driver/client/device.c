/* SPDX-License-Identifier: Apache-2.0 */
/* The driver as the client sees it. */
#include "client.h"

uint32_t device_open(const wchar_t *name, HANDLE *device)
{
	wchar_t path[4 + PMCTEST_NAME_CHARS + 1] = L"\\\\.\\";
	size_t length = 0;

	while (name[length] != 0) {
		if (length == PMCTEST_NAME_CHARS)
			return ERROR_INVALID_NAME;
		path[4 + length] = name[length];
		length++;
	}
	path[4 + length] = 0;
	*device = CreateFileW(path, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
	return *device == INVALID_HANDLE_VALUE ? GetLastError() : 0;
}

uint32_t device_ask(HANDLE device, uint32_t code, const void *in, uint32_t in_bytes, void *out, uint32_t out_bytes, uint32_t *written)
{
	DWORD returned = 0;

	if (!DeviceIoControl(device, code, (void *)in, in_bytes, out, out_bytes, &returned, NULL))
		return GetLastError();
	if (written != NULL)
		*written = returned;
	else if (returned != out_bytes) /* an answer of fixed size */
		return ERROR_INVALID_DATA;
	return 0;
}

uint32_t device_allocate(HANDLE device, struct pmctest_call *call)
{
	const struct pmctest_allocate args = { .cpu = PMCTEST_ANY_CPU, .poison = 0xAAAAAAAAAAAAAAAAull };

	return device_ask(device, PMCTEST_ALLOCATE, &args, sizeof args, call, sizeof *call, NULL);
}

uint32_t device_free(HANDLE device, uint64_t handle, struct pmctest_call *call)
{
	const struct pmctest_free args = { .handle = handle, .cpu = PMCTEST_ANY_CPU };

	return device_ask(device, PMCTEST_FREE, &args, sizeof args, call, sizeof *call, NULL);
}

HANDLE arg_device(struct exchange *exchange)
{
	uint32_t number = arg_device_number(exchange);

	if (!failed(exchange) && (number == 0 || number > MAX_DEVICES || exchange->client->devices[number - 1] == NULL))
		fail_protocol(exchange, "device is not open");
	return failed(exchange) ? NULL : exchange->client->devices[number - 1];
}

bool arg_at_dispatch(struct exchange *exchange)
{
	uint32_t irql = arg_u32_or(exchange, "irql", 0);

	if (irql != 0 && irql != 2)
		fail_protocol(exchange, "irql");
	return irql == 2;
}

void put_call(struct json_writer *out, const struct pmctest_call *call, uint32_t transport)
{
	static const struct pmctest_call nothing;

	if (transport != 0)
		call = &nothing;
	json_put_u32(out, "transport", transport);
	json_put_u32(out, "status", call->status);
	json_put_hex(out, "handle", call->handle);
	json_put_u32(out, "irql_before", call->irql_before);
	json_put_u32(out, "irql_after", call->irql_after);
	json_put_u32(out, "cpu", call->cpu);
	json_put_u32(out, "group", call->group);
	json_put_bool(out, "written", call->written != 0);
}
