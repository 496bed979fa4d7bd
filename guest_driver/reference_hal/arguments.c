/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What arguments mean, and which are invalid. Documented: the exclusive generation takes NULL, 0, NULL only; reserved members and
 * flags are zero; an extended counter configuration is not supported. Our choice where nothing is documented, all of them
 * STATUS_INVALID_PARAMETER: an affinity without a count or the reverse; an empty mask; processors or groups that are not active;
 * a group named twice; a list without any counter, or with one counter twice; a handler, threshold or tag that is missing or
 * given twice. The first descriptor that is wrong decides.
 */
#include "reference.h"

static void claim_everything(const struct machine *machine, struct claim *claim)
{
	RtlCopyMemory(claim->cpus, machine->active, sizeof claim->cpus);
	claim->counters = ALL_COUNTERS;
	if (defect("whole-of-cpu-0")) {
		RtlZeroMemory(claim->cpus, sizeof claim->cpus);
		claim->cpus[0] = 1;
	}
}

NTSTATUS read_exclusive(const struct machine *machine, const struct counter_affinity *affinity, ULONG group_count, const void *list,
			struct claim *claim)
{
	if ((affinity != NULL || group_count != 0 || list != NULL) && !defect("reserved-ignored"))
		return STATUS_INVALID_PARAMETER;
	claim_everything(machine, claim);
	return STATUS_SUCCESS;
}

static NTSTATUS read_affinity(const struct machine *machine, const struct counter_affinity *affinity, ULONG group_count,
			      struct claim *claim)
{
	if ((affinity == NULL) != (group_count == 0))
		return STATUS_INVALID_PARAMETER;
	if (affinity == NULL) /* all processors */
		return STATUS_SUCCESS;
	if (defect("affinity-is-nothing"))
		claim->counters = 0;
	RtlZeroMemory(claim->cpus, sizeof claim->cpus);
	for (ULONG i = 0; i < group_count; i++) {
		const struct counter_affinity *item = &affinity[i];

		if (item->mask == 0 || item->group >= machine->groups ||
		    ((item->mask & ~machine->active[item->group]) != 0 && !defect("offline-cpu-accepted")) ||
		    item->reserved[0] != 0 || item->reserved[1] != 0 || item->reserved[2] != 0 || claim->cpus[item->group] != 0)
			return STATUS_INVALID_PARAMETER;
		claim->cpus[item->group] = item->mask;
	}
	return STATUS_SUCCESS;
}

static NTSTATUS claim_range(const struct machine *machine, ULONG begin, ULONG end, struct claim *claim)
{
	if (begin > end || end >= machine->counters)
		return STATUS_INVALID_PARAMETER;
	if (end > begin && defect("range-without-end"))
		end--;
	for (ULONG index = begin; index <= end; index++) {
		if ((claim->counters & (1ull << index)) != 0)
			return STATUS_INVALID_PARAMETER;
		claim->counters |= 1ull << index;
	}
	return STATUS_SUCCESS;
}

/* `seen` has a bit for each type that may be there once. */
static NTSTATUS read_descriptor(const struct machine *machine, const struct counter_descriptor_v2 *item, struct claim *claim, ULONG *seen)
{
	BOOLEAN valid;

	if ((item->flags != 0 && !defect("flags-ignored")) || item->type >= COUNTER_TYPE_MAX)
		return STATUS_INVALID_PARAMETER;
	switch (item->type) {
	case COUNTER_SINGLE:
		return claim_range(machine, item->u.index, item->u.index, claim);
	case COUNTER_RANGE:
		return claim_range(machine, item->u.range.begin, item->u.range.end, claim);
	case COUNTER_EXTENDED_CONFIGURATION:
		if (defect("extended-accepted"))
			return claim_range(machine, 0, 0, claim);
		return defect("extended-invalid") ? STATUS_INVALID_PARAMETER : STATUS_NOT_SUPPORTED;
	case COUNTER_OVERFLOW:
		valid = item->u.overflow_handler != NULL;
		break;
	case COUNTER_EVENT_BUFFER:
		valid = item->u.event_buffer.handler != NULL && item->u.event_buffer.custom_entry_size == 0 &&
			item->u.event_buffer.threshold != 0;
		break;
	default: /* a tag may be any number */
		valid = TRUE;
		break;
	}
	if (!valid || (*seen & (1u << item->type)) != 0)
		return STATUS_INVALID_PARAMETER;
	*seen |= 1u << item->type;
	return STATUS_SUCCESS;
}

NTSTATUS read_shared(const struct machine *machine, const struct counter_affinity *affinity, ULONG group_count,
		     const struct counter_list_v2 *list, struct claim *claim)
{
	ULONG seen = 0;
	NTSTATUS status;

	claim_everything(machine, claim);
	status = read_affinity(machine, affinity, group_count, claim);
	if (!NT_SUCCESS(status) || list == NULL)
		return status;
	claim->counters = 0;
	for (ULONG i = 0; i < list->count && NT_SUCCESS(status) && !(i > 0 && defect("first-of-list")); i++)
		status = read_descriptor(machine, &list->descriptors[i], claim, &seen);
	if (NT_SUCCESS(status) && claim->counters == 0)
		status = STATUS_INVALID_PARAMETER;
	return status;
}
