/* SPDX-License-Identifier: Apache-2.0 */
/* Settings of the reference HAL, from the registry. A value that is missing or makes no sense leaves the default. */
#include "reference.h"

#define KEY L"\\Registry\\Machine\\SOFTWARE\\halpmc\\ReferenceHal"

static ULONG read_dword(HANDLE key, PCWSTR name, ULONG otherwise)
{
	union {
		KEY_VALUE_PARTIAL_INFORMATION value;
		UCHAR room[sizeof(KEY_VALUE_PARTIAL_INFORMATION) + sizeof(ULONG)];
	} information;
	UNICODE_STRING text;
	ULONG length, number;

	RtlInitUnicodeString(&text, name);
	if (!NT_SUCCESS(ZwQueryValueKey(key, &text, KeyValuePartialInformation, &information, sizeof information, &length)) ||
	    information.value.Type != REG_DWORD || information.value.DataLength != sizeof number)
		return otherwise;
	RtlCopyMemory(&number, information.value.Data, sizeof number);
	return number;
}

static enum defect known_defect(ULONG number)
{
	switch (number) {
#define DEFECT_CASE(value, identifier, name) case value: return DEFECT_##identifier;
		DEFECTS(DEFECT_CASE)
#undef DEFECT_CASE
	default:
		return DEFECT_NONE;
	}
}

void settings_read(struct settings *settings)
{
	OBJECT_ATTRIBUTES attributes;
	UNICODE_STRING path;
	HANDLE key;

	*settings = (struct settings){ .shared = TRUE, .refuse = FALSE, .defect = DEFECT_NONE };
	RtlInitUnicodeString(&path, KEY);
	InitializeObjectAttributes(&attributes, &path, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
	if (!NT_SUCCESS(ZwOpenKey(&key, KEY_READ, &attributes)))
		return;
	settings->shared = read_dword(key, L"Generation", 1) != 0;
	settings->refuse = read_dword(key, L"WithoutPmu", 0) != 0;
	settings->defect = known_defect(read_dword(key, L"Defect", 0));
	ZwClose(key);
}
