/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of the reference HAL, see reference_settings.h. A system's own HAL has no such page, and the request then fails. */
#include "client.h"
#include "reference_settings.h"

void op_hal_configure(struct exchange *exchange)
{
	uint32_t shared = arg_u32(exchange, "shared"), refuse = arg_u32(exchange, "refuse"), defect = arg_u32(exchange, "defect");
	struct reference_settings *page;
	HANDLE section;

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
		page->defect = defect;
		InterlockedIncrement((volatile LONG *)&page->changes);
		UnmapViewOfFile(page);
	}
	CloseHandle(section);
}
