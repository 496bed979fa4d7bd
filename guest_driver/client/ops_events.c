/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event log: events of a channel in the order of their record numbers, each as XML, which is the same in every language. And which
 * boot this is. The library is loaded when it is asked for: Wine's has names without routines behind them.
 */
#include "client.h"

#include <winevt.h>

#define NAME_ROOM 256u
#define QUERY_ROOM 512u
#define XML_ROOM (32u << 10) /* UTF-16 units of one event; a longer one is left out, and counted */
#define MOST_EVENTS 256u
#define TEXT_ROOM (3u * XML_ROOM + 1)
#define NEXT_MS 5000u
#define BOOT_ID (*(const volatile ULONG *)0x7FFE02C4) /* KUSER_SHARED_DATA.BootId: counted since the installation; Wine has 0 */
#define SYSTEM_TIME_OF_DAY 3u                        /* a class of NtQuerySystemInformation */

struct event_log {
	EVT_HANDLE(WINAPI *query)(EVT_HANDLE, const wchar_t *, const wchar_t *, DWORD);
	BOOL(WINAPI *next)(EVT_HANDLE, DWORD, EVT_HANDLE *, DWORD, DWORD, DWORD *);
	BOOL(WINAPI *render)(EVT_HANDLE, EVT_HANDLE, DWORD, DWORD, void *, DWORD *, DWORD *);
	BOOL(WINAPI *close)(EVT_HANDLE);
};

static bool load(struct exchange *exchange, struct event_log *log)
{
	HMODULE library = GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "wine_get_version") == NULL ?
				  LoadLibraryExW(L"wevtapi.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32) :
				  NULL;

	if (library == NULL) {
		fail(exchange, "win32", ERROR_NOT_SUPPORTED, "there is no event log");
		return false;
	}
	log->query = (void *)GetProcAddress(library, "EvtQuery");
	log->next = (void *)GetProcAddress(library, "EvtNext");
	log->render = (void *)GetProcAddress(library, "EvtRender");
	log->close = (void *)GetProcAddress(library, "EvtClose");
	if (log->query != NULL && log->next != NULL && log->render != NULL && log->close != NULL)
		return true;
	fail_win32(exchange, "GetProcAddress");
	return false;
}

/* FALSE when the event is longer than what is kept of one. */
static bool put_event(struct exchange *exchange, const struct event_log *log, EVT_HANDLE event)
{
	static wchar_t xml[XML_ROOM];
	static char text[TEXT_ROOM];
	DWORD used = 0, properties = 0;

	if (!log->render(NULL, event, EvtRenderEventXml, sizeof xml, xml, &used, &properties))
		return false;
	if (WideCharToMultiByte(CP_UTF8, 0, xml, -1, text, sizeof text, NULL, NULL) == 0)
		return false;
	json_put_string(&exchange->out, NULL, text);
	return true;
}

/* `since` is a record number: events after it, the oldest first. */
static void make_query(wchar_t *query, uint64_t since)
{
	static const wchar_t before[] = L"*[System[EventRecordID>", after[] = L"]]";
	wchar_t digits[21];
	size_t first = sizeof digits / sizeof *digits - 1;

	digits[first] = 0;
	do {
		digits[--first] = (wchar_t)(L'0' + since % 10);
		since /= 10;
	} while (since != 0);
	lstrcpyW(query, before);
	lstrcpyW(query + lstrlenW(query), digits + first);
	lstrcpyW(query + lstrlenW(query), after);
}

void op_events_read(struct exchange *exchange)
{
	static wchar_t channel[NAME_ROOM], query[QUERY_ROOM];
	uint64_t since = arg_hex_or(exchange, "since", 0);
	uint32_t most = arg_u32_or(exchange, "most", MOST_EVENTS), count = 0, left_out = 0;
	struct event_log log;
	EVT_HANDLE found, event;
	DWORD got = 0;

	arg_wide(exchange, "channel", channel, NAME_ROOM);
	if (most == 0 || most > MOST_EVENTS)
		fail_protocol(exchange, "most");
	if (failed(exchange) || !load(exchange, &log))
		return;
	make_query(query, since);
	found = log.query(NULL, channel, query, EvtQueryChannelPath | EvtQueryForwardDirection);
	if (found == NULL) {
		fail_win32(exchange, "EvtQuery");
		return;
	}
	json_open(&exchange->out, "events", '[');
	while (count < most && log.next(found, 1, &event, NEXT_MS, 0, &got) && got == 1) {
		left_out += !put_event(exchange, &log, event);
		log.close(event);
		count++;
	}
	json_close(&exchange->out, ']');
	json_put_u32(&exchange->out, "left_out", left_out);
	json_put_bool(&exchange->out, "more", count == most);
	log.close(found);
}

struct time_of_day {
	uint64_t boot_time, now, bias;
	uint32_t zone, reserved;
	uint64_t boot_bias, sleep_bias;
};
_Static_assert(sizeof(struct time_of_day) == 48, "SYSTEM_TIMEOFDAY_INFORMATION");

void op_boot(struct exchange *exchange)
{
	LONG(WINAPI * query)(ULONG, void *, ULONG, ULONG *) =
		(void *)GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "NtQuerySystemInformation");
	struct time_of_day time = { 0 };
	LONG status = query != NULL ? query(SYSTEM_TIME_OF_DAY, &time, sizeof time, NULL) : -1;

	if (status != 0) {
		fail(exchange, "ntstatus", (uint32_t)status, "NtQuerySystemInformation");
		return;
	}
	json_put_hex(&exchange->out, "booted", time.boot_time);
	json_put_u32(&exchange->out, "number", BOOT_ID);
}
