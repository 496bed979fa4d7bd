/* SPDX-License-Identifier: Apache-2.0 */
/* Where a thread runs, and keeping it there. */
#include "driver.h"

ULONG cpu_count(void)
{
	return routines.processor_count != NULL ? routines.processor_count(ALL_PROCESSOR_GROUPS) : 1;
}

void cpu_current(ULONG *number, USHORT *group)
{
	PROCESSOR_NUMBER here = { 0 };

	if (routines.current_processor != NULL)
		routines.current_processor(&here);
	*number = here.Number;
	*group = here.Group;
}

static NTSTATUS locate(ULONG index, PROCESSOR_NUMBER *number)
{
	if (index >= cpu_count())
		return STATUS_INVALID_PARAMETER;
	if (routines.processor_from_index != NULL)
		return routines.processor_from_index(index, number);
	if (index >= 8 * sizeof(KAFFINITY)) /* a system without groups has no more */
		return STATUS_INVALID_PARAMETER;
	number->Group = 0;
	number->Number = (UCHAR)index;
	return STATUS_SUCCESS;
}

static NTSTATUS pin_to(PROCESSOR_NUMBER number, struct pin *pin)
{
	if (routines.set_group_affinity != NULL && routines.revert_group_affinity != NULL) {
		GROUP_AFFINITY wanted = { .Mask = (KAFFINITY)1 << number.Number, .Group = number.Group };

		routines.set_group_affinity(&wanted, &pin->previous_group);
	} else if (routines.set_affinity != NULL && routines.revert_affinity != NULL && number.Group == 0) {
		pin->previous = routines.set_affinity((KAFFINITY)1 << number.Number);
	} else {
		return STATUS_NOT_SUPPORTED;
	}
	pin->pinned = TRUE;
	return STATUS_SUCCESS;
}

NTSTATUS cpu_pin(ULONG index, struct pin *pin)
{
	PROCESSOR_NUMBER number = { 0 };
	NTSTATUS status;

	pin->pinned = FALSE;
	if (index == PMCTEST_ANY_CPU)
		return STATUS_SUCCESS;
	status = locate(index, &number);
	return NT_SUCCESS(status) ? pin_to(number, pin) : status;
}

NTSTATUS cpu_pin_here(struct pin *pin)
{
	PROCESSOR_NUMBER number = { 0 };

	pin->pinned = FALSE;
	if (cpu_count() == 1)
		return STATUS_SUCCESS;
	if (routines.current_processor == NULL)
		return STATUS_NOT_SUPPORTED;
	routines.current_processor(&number);
	return pin_to(number, pin);
}

void cpu_unpin(struct pin *pin)
{
	if (!pin->pinned)
		return;
	if (routines.set_group_affinity != NULL && routines.revert_group_affinity != NULL)
		routines.revert_group_affinity(&pin->previous_group);
	else
		routines.revert_affinity(pin->previous);
	pin->pinned = FALSE;
}
