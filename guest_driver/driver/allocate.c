/* SPDX-License-Identifier: Apache-2.0 */
/* One HalAllocateHardwareCounters call with any arguments that the documentation lets a caller think of. */
#include "driver.h"

static void fill_v1(struct counter_descriptor_v1 *to, const struct pmctest_resource *from)
{
	to->type = from->type;
	to->flags = from->flags;
	to->u.range.begin = from->first;
	to->u.range.end = from->second;
}

static void fill_v2(struct counter_descriptor_v2 *to, const struct pmctest_resource *from)
{
	to->type = from->type;
	to->flags = from->flags;
	switch (from->type) {
	case COUNTER_OVERFLOW:
		to->u.overflow_handler = on_overflow;
		break;
	case COUNTER_EVENT_BUFFER:
		to->u.event_buffer.handler = on_event_buffer;
		to->u.event_buffer.threshold = from->first;
		break;
	default:
		to->u.range.begin = from->first; /* also the index and the tag */
		to->u.range.end = from->second;
		break;
	}
}

/* The list in the layout that this system reads. Memory is there for as many descriptors as the list claims. */
static void *make_list(struct instance *instance, const struct pmctest_allocate *args, const struct pmctest_resource *items,
		       SIZE_T *bytes)
{
	SIZE_T room = max(max(args->resource_count, args->resource_items), 1u);
	struct counter_list_v1 *v1;
	struct counter_list_v2 *v2;

	if (shared_layout) {
		*bytes = FIELD_OFFSET(struct counter_list_v2, descriptors) + room * sizeof(struct counter_descriptor_v2);
		v2 = pool_take(instance, *bytes);
		if (v2 == NULL)
			return NULL;
		v2->count = args->resource_count;
		for (ULONG i = 0; i < args->resource_items; i++)
			fill_v2(&v2->descriptors[i], &items[i]);
		return v2;
	}
	*bytes = FIELD_OFFSET(struct counter_list_v1, descriptors) + room * sizeof(struct counter_descriptor_v1);
	v1 = pool_take(instance, *bytes);
	if (v1 == NULL)
		return NULL;
	v1->count = args->resource_count;
	for (ULONG i = 0; i < args->resource_items; i++)
		fill_v1(&v1->descriptors[i], &items[i]);
	return v1;
}

static struct counter_affinity *make_affinity(struct instance *instance, const struct pmctest_allocate *args,
					      const struct counter_affinity *items, SIZE_T *bytes)
{
	struct counter_affinity *affinity;

	*bytes = (SIZE_T)max(max(args->group_count, args->affinity_items), 1u) * sizeof *affinity;
	affinity = pool_take(instance, *bytes);
	if (affinity != NULL)
		RtlCopyMemory(affinity, items, args->affinity_items * sizeof *affinity);
	return affinity;
}

static NTSTATUS check(const struct instance *instance, const struct pmctest_allocate *args, ULONG in)
{
	const ULONG destructive = PMCTEST_DISPATCH | PMCTEST_LEAK | PMCTEST_NULL_CELL;
	const ULONG known = PMCTEST_WITH_AFFINITY | PMCTEST_WITH_RESOURCES | PMCTEST_KEEP | destructive;
	BOOLEAN affinity = (args->flags & PMCTEST_WITH_AFFINITY) != 0, resources = (args->flags & PMCTEST_WITH_RESOURCES) != 0;
	ULONG expected;

	if ((args->flags & ~known) != 0 || args->affinity_items > PMCTEST_MAX_ITEMS || args->resource_items > PMCTEST_MAX_ITEMS ||
	    (affinity && args->group_count > PMCTEST_MAX_ITEMS) || (resources && args->resource_count > PMCTEST_MAX_ITEMS) ||
	    (!affinity && args->affinity_items != 0) || (!resources && args->resource_items != 0))
		return STATUS_INVALID_PARAMETER;
	expected = sizeof *args + args->affinity_items * sizeof(struct counter_affinity) +
		   args->resource_items * sizeof(struct pmctest_resource);
	if (in != expected)
		return STATUS_INVALID_PARAMETER;
	return (args->flags & destructive) != 0 && !instance->destructive ? STATUS_ACCESS_DENIED : STATUS_SUCCESS;
}

/* The counters that a list names by index, when it brings an overflow handler for them. */
static ULONG64 handled(const struct pmctest_allocate *args, const struct pmctest_resource *items)
{
	BOOLEAN handler = FALSE;
	ULONG64 counters = 0;

	for (ULONG i = 0; i < args->resource_items && i < args->resource_count; i++) {
		handler = handler || items[i].type == COUNTER_OVERFLOW;
		if (items[i].type == COUNTER_SINGLE && items[i].first < 64)
			counters |= 1ull << items[i].first;
	}
	return handler ? counters : 0;
}

/* Make the call on the CPU asked for, and leave what it granted with the file, or with the instance. */
static NTSTATUS call_and_keep(struct request *request, const struct pmctest_allocate *args, struct counter_affinity *affinity, void *list,
			      ULONG64 counters)
{
	struct holding *holding = holding_prepare(request->instance);
	struct file *owner = (args->flags & PMCTEST_KEEP) != 0 ? NULL : request->file;
	struct pmctest_call call;
	struct pin pin;
	NTSTATUS status;

	if (holding == NULL)
		return STATUS_NO_MEMORY;
	status = cpu_pin(args->cpu, &pin);
	if (!NT_SUCCESS(status)) {
		holding_discard(request->instance, holding);
		return status;
	}
	status = call_allocate(affinity, args->group_count, list, args->poison, args->flags, &call);
	cpu_unpin(&pin);
	if (!NT_SUCCESS(status)) {
		holding_discard(request->instance, holding);
		return status;
	}
	holding->whole = affinity == NULL && list == NULL;
	holding->handled = affinity == NULL ? counters : 0;
	if (!NT_SUCCESS((NTSTATUS)call.status) || (args->flags & (PMCTEST_LEAK | PMCTEST_NULL_CELL)) != 0) {
		holding_discard(request->instance, holding);
	} else if (!holding_keep(request->instance, holding, owner, (HANDLE)(ULONG_PTR)call.handle)) {
		struct pmctest_call freed;

		call_free((HANDLE)(ULONG_PTR)call.handle, FALSE, &freed);
		holding_discard(request->instance, holding);
		return STATUS_QUOTA_EXCEEDED;
	}
	RtlCopyMemory(request->buffer, &call, sizeof call);
	request->written = sizeof call;
	return STATUS_SUCCESS;
}

NTSTATUS request_allocate(struct request *request)
{
	const struct pmctest_allocate args = *(const struct pmctest_allocate *)request->buffer; /* the answer will overwrite it */
	const struct counter_affinity *affinity_items = (const void *)((const UCHAR *)request->buffer + sizeof args);
	const struct pmctest_resource *items = (const void *)(affinity_items + args.affinity_items);
	struct counter_affinity *affinity = NULL;
	void *list = NULL;
	SIZE_T affinity_bytes = 0, list_bytes = 0;
	ULONG64 counters = 0;
	NTSTATUS status = check(request->instance, &args, request->in);

	if (!NT_SUCCESS(status))
		return status;
	if ((args.flags & PMCTEST_WITH_AFFINITY) != 0) {
		affinity = make_affinity(request->instance, &args, affinity_items, &affinity_bytes);
		if (affinity == NULL)
			status = STATUS_NO_MEMORY;
	}
	if ((args.flags & PMCTEST_WITH_RESOURCES) != 0) {
		list = make_list(request->instance, &args, items, &list_bytes);
		if (list == NULL)
			status = STATUS_NO_MEMORY;
		counters = handled(&args, items);
	}
	if (NT_SUCCESS(status))
		status = call_and_keep(request, &args, affinity, list, counters);
	pool_return(request->instance, affinity, affinity_bytes);
	pool_return(request->instance, list, list_bytes);
	return status;
}
