/* SPDX-License-Identifier: Apache-2.0 */
/* Settings of the reference HAL: a named page, which the client writes. What makes no sense there leaves the default. */
#include "reference.h"

#define SECTION_NAME L"\\BaseNamedObjects\\" REFERENCE_SETTINGS_NAME

static struct reference_settings initial = { .shared = 1 };
static struct reference_settings *page = &initial; /* nobody can change them where there is no section */
static struct settings settings;

NTSTATUS settings_share(void)
{
	LARGE_INTEGER size = { .QuadPart = sizeof *page };
	OBJECT_ATTRIBUTES attributes;
	UNICODE_STRING name;
	SIZE_T bytes = 0;
	HANDLE section;
	PVOID view = NULL;
	NTSTATUS status;

	RtlInitUnicodeString(&name, SECTION_NAME);
	InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE, NULL, NULL);
	status = ZwCreateSection(&section, SECTION_ALL_ACCESS, &attributes, &size, PAGE_READWRITE, SEC_COMMIT, NULL);
	if (!NT_SUCCESS(status))
		return status;
	status = ZwMapViewOfSection(section, ZwCurrentProcess(), &view, 0, 0, NULL, &bytes, ViewUnmap, 0, PAGE_READWRITE);
	if (!NT_SUCCESS(status)) {
		ZwClose(section);
		return status;
	}
	/* The handle stays open: it keeps the name alive. */
	*(struct reference_settings *)view = initial;
	page = view;
	return STATUS_SUCCESS;
}

BOOLEAN settings_changed(void)
{
	return settings.changes != page->changes;
}

const struct settings *settings_read(void)
{
	/* Before the rest, with a barrier: a change meanwhile is then seen the next time. */
	settings.changes = InterlockedOr((volatile LONG *)&page->changes, 0);
	settings.shared = page->shared != 0;
	settings.refuse = page->refuse != 0;
	RtlCopyMemory(settings.defect, page->defect, sizeof settings.defect);
	settings.defect[sizeof settings.defect - 1] = 0;
	return &settings;
}

BOOLEAN defect(const char *name)
{
	const char *chosen = settings.defect;

	while (*name != 0 && *name == *chosen) {
		name++;
		chosen++;
	}
	return *name == *chosen;
}
