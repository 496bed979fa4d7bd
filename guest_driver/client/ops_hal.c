/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of the reference HAL, see reference_settings.h. A system's own HAL has no such page, and the request then fails. */
#include "client.h"
#include "reference_settings.h"

void op_hal_configure(struct exchange *exchange)
{
	uint32_t shared = arg_u32(exchange, "shared"), refuse = arg_u32(exchange, "refuse");
	char defect[REFERENCE_DEFECT_ROOM] = "";
	struct reference_settings *page;
	struct json value;
	HANDLE section;

	if (!arg_given(exchange, "defect", &value) || !json_string(value, defect, sizeof defect))
		fail_protocol(exchange, "defect");
	if (failed(exchange))
		return;
	section = OpenFileMappingW(FILE_MAP_READ | FILE_MAP_WRITE, FALSE, L"Global\\" REFERENCE_SETTINGS_NAME);
	if (section == NULL) {
		fail_win32(exchange, "OpenFileMapping");
		return;
	}
	page = MapViewOfFile(section, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, sizeof *page);
	if (page == NULL) {
		fail_win32(exchange, "MapViewOfFile");
	} else {
		page->shared = shared;
		page->refuse = refuse;
		memcpy(page->defect, defect, sizeof defect);
		InterlockedIncrement((volatile LONG *)&page->changes);
		UnmapViewOfFile(page);
	}
	CloseHandle(section);
}
