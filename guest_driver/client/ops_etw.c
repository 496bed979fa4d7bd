/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event tracing with hardware counters: the sources that the system's profiling offers, and a session that takes counters for itself
 * ("PMU events are for one session only"). The interface is documented (evntrace.h); Wine has none of it.
 */
#include "client.h"

#include <evntrace.h>

#define SOURCES_ROOM (64u << 10)
#define MOST_SOURCES 256u
#define MOST_COUNTERS 8u /* of a session; more than any system grants */
#define BUFFER_KB 64u

#define CLOCK_QPC 1u
#define CONTEXT_SWITCH 36u /* of the class Thread: when counters are read */

_Static_assert(offsetof(PROFILE_SOURCE_INFO, Description) == 24, "evntrace.h");
_Static_assert(sizeof(CLASSIC_EVENT_ID) == 24, "evntrace.h");
_Static_assert(TraceProfileSourceListInfo == 7 && TracePmcEventListInfo == 8 && TracePmcCounterListInfo == 9, "evntrace.h");

/* What a session is described by, and room for its name behind it. */
struct session {
	EVENT_TRACE_PROPERTIES properties;
	wchar_t name[64];
};

static const GUID thread_class = { 0x3d6fa8d1, 0xfe05, 0x11d0, { 0x9d, 0xda, 0x00, 0xc0, 0x4f, 0xd7, 0xba, 0x7c } };
static const GUID session_id = { 0x5a6c2f10, 0x7a51, 0x4a0e, { 0x8e, 0x41, 0x2b, 0x5d, 0x0a, 0x91, 0x33, 0xc4 } };
static const wchar_t session_name[] = L"halpmc counters";

struct etw {
	ULONG(WINAPI *query)(uint64_t, ULONG, void *, ULONG, ULONG *);
	ULONG(WINAPI *set)(uint64_t, ULONG, void *, ULONG);
	ULONG(WINAPI *start)(uint64_t *, const wchar_t *, EVENT_TRACE_PROPERTIES *);
	ULONG(WINAPI *control)(uint64_t, const wchar_t *, EVENT_TRACE_PROPERTIES *, ULONG);
};

static bool load(struct exchange *exchange, struct etw *etw)
{
	HMODULE library = GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "wine_get_version") == NULL ?
				  LoadLibraryExW(L"advapi32.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32) :
				  NULL;

	if (library == NULL) {
		fail(exchange, "win32", ERROR_NOT_SUPPORTED, "there is no event tracing");
		return false;
	}
	etw->query = (void *)GetProcAddress(library, "TraceQueryInformation");
	etw->set = (void *)GetProcAddress(library, "TraceSetInformation");
	etw->start = (void *)GetProcAddress(library, "StartTraceW");
	etw->control = (void *)GetProcAddress(library, "ControlTraceW");
	if (etw->query != NULL && etw->set != NULL && etw->start != NULL && etw->control != NULL)
		return true;
	fail_win32(exchange, "GetProcAddress");
	return false;
}

static bool succeeded(struct exchange *exchange, ULONG error, const char *what)
{
	if (error != ERROR_SUCCESS)
		fail(exchange, "win32", error, what);
	return error == ERROR_SUCCESS;
}

void op_etw_sources(struct exchange *exchange)
{
	uint8_t *bytes = exchange->client->scratch;
	struct json_writer *out = &exchange->out;
	struct etw etw;
	ULONG used = 0, at = 0;

	if (!load(exchange, &etw) ||
	    !succeeded(exchange, etw.query(0, TraceProfileSourceListInfo, bytes, SOURCES_ROOM - sizeof(wchar_t), &used), "TraceQueryInformation"))
		return;
	if (used > SOURCES_ROOM - sizeof(wchar_t)) {
		fail(exchange, "win32", ERROR_INVALID_DATA, "TraceQueryInformation");
		return;
	}
	*(wchar_t *)(bytes + used) = 0; /* the last name ends, whatever was written */
	json_open(out, "sources", '[');
	for (uint32_t count = 0; count < MOST_SOURCES && used >= sizeof(PROFILE_SOURCE_INFO) && at <= used - sizeof(PROFILE_SOURCE_INFO); count++) {
		const PROFILE_SOURCE_INFO *source = (const void *)(bytes + at);

		json_open(out, NULL, '{');
		json_put_u32(out, "source", source->Source);
		json_put_u32(out, "least", source->MinInterval);
		json_put_u32(out, "most", source->MaxInterval);
		put_wide(exchange, "name", source->Description);
		json_close(out, '}');
		if (source->NextEntryOffset < sizeof *source || source->NextEntryOffset > used - at || source->NextEntryOffset % 8 != 0)
			break;
		at += source->NextEntryOffset;
	}
	json_close(out, ']');
}

static EVENT_TRACE_PROPERTIES *describe(void)
{
	static struct session session;

	ZeroMemory(&session, sizeof session);
	session.properties.Wnode.BufferSize = sizeof session;
	session.properties.Wnode.Flags = WNODE_FLAG_TRACED_GUID;
	session.properties.Wnode.ClientContext = CLOCK_QPC;
	session.properties.Wnode.Guid = session_id;
	session.properties.BufferSize = BUFFER_KB;
	session.properties.LogFileMode = EVENT_TRACE_REAL_TIME_MODE | EVENT_TRACE_SYSTEM_LOGGER_MODE; /* the latter since Windows 8 */
	session.properties.EnableFlags = EVENT_TRACE_FLAG_CSWITCH;
	session.properties.LoggerNameOffset = offsetof(struct session, name);
	return &session.properties;
}

/* The counters are taken when the session is told them: what that answers is the answer. A session that gets none is ended again. */
void op_etw_start(struct exchange *exchange)
{
	CLASSIC_EVENT_ID event = { .EventGuid = thread_class, .Type = CONTEXT_SWITCH };
	ULONG counters[MOST_COUNTERS];
	const char *cursor = NULL;
	struct json list, value;
	uint64_t session = 0;
	struct etw etw;
	ULONG count = 0;

	if (!arg_given(exchange, "sources", &list) || !json_is_array(list))
		fail_protocol(exchange, "sources");
	while (!failed(exchange) && json_next(list, &cursor, NULL, &value)) {
		uint32_t number = 0;

		if (count == MOST_COUNTERS || !json_u32(value, &number))
			fail_protocol(exchange, "sources");
		else
			counters[count++] = number;
	}
	if (failed(exchange) || !load(exchange, &etw) || !succeeded(exchange, etw.start(&session, session_name, describe()), "StartTrace"))
		return;
	if (succeeded(exchange, etw.set(session, TracePmcCounterListInfo, counters, count * (ULONG)sizeof *counters), "TracePmcCounterListInfo"))
		succeeded(exchange, etw.set(session, TracePmcEventListInfo, &event, sizeof event), "TracePmcEventListInfo");
	if (failed(exchange))
		etw.control(session, NULL, describe(), EVENT_TRACE_CONTROL_STOP);
}

void op_etw_stop(struct exchange *exchange)
{
	struct etw etw;

	if (load(exchange, &etw))
		succeeded(exchange, etw.control(0, session_name, describe(), EVENT_TRACE_CONTROL_STOP), "ControlTrace");
}
