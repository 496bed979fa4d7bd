/* SPDX-License-Identifier: Apache-2.0 */
/* What the registry says about this service, read once when the driver starts. */
#include "driver.h"

BOOLEAN setting_enabled(PUNICODE_STRING service_key, PCWSTR name)
{
	union {
		KEY_VALUE_PARTIAL_INFORMATION value;
		UCHAR room[sizeof(KEY_VALUE_PARTIAL_INFORMATION) + sizeof(ULONG)];
	} information;
	OBJECT_ATTRIBUTES attributes;
	UNICODE_STRING text;
	ULONG length = 0, number = 0;
	NTSTATUS status;
	HANDLE key;

	InitializeObjectAttributes(&attributes, service_key, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
	if (!NT_SUCCESS(ZwOpenKey(&key, KEY_READ, &attributes)))
		return FALSE;
	RtlInitUnicodeString(&text, name);
	status = ZwQueryValueKey(key, &text, KeyValuePartialInformation, &information, sizeof information, &length);
	ZwClose(key);
	if (!NT_SUCCESS(status) || information.value.Type != REG_DWORD || information.value.DataLength != sizeof number)
		return FALSE;
	RtlCopyMemory(&number, information.value.Data, sizeof number);
	return number == 1;
}
