/* SPDX-License-Identifier: Apache-2.0 */
/* `allocate`: from JSON lists to the driver's arrays. */
#include "client.h"

#define MAX_BYTES (sizeof(struct pmctest_allocate) + PMCTEST_MAX_ITEMS * (sizeof(struct counter_affinity) + sizeof(struct pmctest_resource)))
_Static_assert(MAX_BYTES <= SCRATCH_ROOM, "the longest lists fit");

/* A number of an item, 0 when it is not there or null. */
static uint32_t item_u32(struct exchange *exchange, struct json item, const char *name)
{
	struct json value;
	uint32_t number = 0;

	if (json_member(item, name, &value) && !json_is_null(value) && !json_u32(value, &number))
		fail_protocol(exchange, name);
	return number;
}

static struct counter_affinity read_affinity(struct exchange *exchange, struct json item)
{
	struct counter_affinity affinity = { 0 };
	struct json value, key, element;
	const char *cursor = NULL;
	uint32_t number;

	if (!json_is_object(item) || !json_member(item, "mask", &value) || !json_hex(value, &affinity.mask))
		fail_protocol(exchange, "affinity: mask");
	number = item_u32(exchange, item, "group");
	if (number > UINT16_MAX)
		fail_protocol(exchange, "affinity: group");
	affinity.group = (uint16_t)number;
	if (!json_member(item, "reserved", &value))
		return affinity;
	for (size_t i = 0; json_is_array(value) && json_next(value, &cursor, &key, &element); i++) {
		if (i >= 3 || !json_u32(element, &number) || number > UINT16_MAX) {
			fail_protocol(exchange, "affinity: reserved");
			break;
		}
		affinity.reserved[i] = (uint16_t)number;
	}
	return affinity;
}

static struct pmctest_resource read_resource(struct exchange *exchange, struct json item)
{
	struct pmctest_resource resource = { 0 };
	struct json value;

	if (!json_is_object(item) || !json_member(item, "type", &value) || !json_u32(value, &resource.type)) {
		fail_protocol(exchange, "resources: type");
		return resource;
	}
	resource.flags = item_u32(exchange, item, "flags");
	switch (resource.type) {
	case COUNTER_SINGLE:
		resource.first = item_u32(exchange, item, "index");
		break;
	case COUNTER_RANGE:
		resource.first = item_u32(exchange, item, "begin");
		resource.second = item_u32(exchange, item, "end");
		break;
	case COUNTER_EVENT_BUFFER:
		resource.first = item_u32(exchange, item, "threshold");
		break;
	case COUNTER_IDENTIFICATION_TAG:
		resource.first = item_u32(exchange, item, "tag");
		break;
	default: /* passed on as it is */
		break;
	}
	return resource;
}

/* Lists follow the fixed part. Returns the number of items. */
static uint32_t read_affinities(struct exchange *exchange, struct json list, struct counter_affinity *to)
{
	const char *cursor = NULL;
	struct json key, item;
	uint32_t count = 0;

	if (!json_is_array(list)) {
		fail_protocol(exchange, "affinity is not a list");
		return 0;
	}
	while (!failed(exchange) && json_next(list, &cursor, &key, &item)) {
		if (count == PMCTEST_MAX_ITEMS)
			fail_protocol(exchange, "affinity is too long");
		else
			to[count++] = read_affinity(exchange, item);
	}
	return count;
}

static uint32_t read_resources(struct exchange *exchange, struct json resources, struct pmctest_resource *to)
{
	const char *cursor = NULL;
	struct json key, item, list;
	uint32_t count = 0;

	if (!json_is_object(resources) || !json_member(resources, "items", &list) || !json_is_array(list)) {
		fail_protocol(exchange, "resources: items");
		return 0;
	}
	while (!failed(exchange) && json_next(list, &cursor, &key, &item)) {
		if (count == PMCTEST_MAX_ITEMS)
			fail_protocol(exchange, "resources: too many items");
		else
			to[count++] = read_resource(exchange, item);
	}
	return count;
}

void op_allocate(struct exchange *exchange)
{
	struct pmctest_allocate *args = (void *)exchange->client->scratch;
	struct counter_affinity *affinities = (void *)(args + 1);
	struct pmctest_resource *items;
	HANDLE device = arg_device(exchange);
	struct json list, value;
	struct pmctest_call call;
	uint32_t timeout_ms = arg_u32_or(exchange, "timeout_ms", 0), error;

	*args = (struct pmctest_allocate){
		.cpu = arg_u32_or(exchange, "cpu", PMCTEST_ANY_CPU),
		.poison = arg_hex_or(exchange, "poison", 0xAAAAAAAAAAAAAAAAull),
	};
	if (arg_bool_or(exchange, "keep", false))
		args->flags |= PMCTEST_KEEP;
	if (arg_at_dispatch(exchange))
		args->flags |= PMCTEST_DISPATCH;
	if (arg_bool_or(exchange, "null_cell", false))
		args->flags |= PMCTEST_NULL_CELL;
	if (arg_given(exchange, "affinity", &list)) {
		args->flags |= PMCTEST_WITH_AFFINITY;
		args->affinity_items = read_affinities(exchange, list, affinities);
	}
	args->group_count = arg_u32_or(exchange, "group_count", args->affinity_items);
	items = (void *)(affinities + args->affinity_items);
	if (arg_given(exchange, "resources", &list)) {
		args->flags |= PMCTEST_WITH_RESOURCES;
		args->resource_items = read_resources(exchange, list, items);
		args->resource_count = args->resource_items;
		if (json_member(list, "count", &value) && !json_is_null(value) && !json_u32(value, &args->resource_count))
			fail_protocol(exchange, "resources: count");
	}
	if (failed(exchange))
		return;
	error = device_call(device, PMCTEST_ALLOCATE, args, (uint32_t)((uint8_t *)(items + args->resource_items) - (uint8_t *)args),
			    timeout_ms, &call);
	put_call(&exchange->out, &call, error);
	if (error == 0) {
		exchange->made.has_handle = true;
		exchange->made.handle = call.handle;
	}
}

void op_leak(struct exchange *exchange)
{
	const struct pmctest_allocate args = { .flags = PMCTEST_LEAK, .cpu = PMCTEST_ANY_CPU, .poison = 0xAAAAAAAAAAAAAAAAull };
	HANDLE device = arg_device(exchange);
	struct pmctest_call call;
	uint32_t error;

	if (failed(exchange))
		return;
	error = device_ask(device, PMCTEST_ALLOCATE, &args, sizeof args, &call, sizeof call, NULL);
	put_call(&exchange->out, &call, error);
}
