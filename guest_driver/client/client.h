/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pmcctl.exe: the client of the test driver. It imports kernel32, advapi32 and ntdll only and has no C runtime, so that it
 * starts fast and asks nothing of the guest.
 */
#ifndef HALPMC_CLIENT_H
#define HALPMC_CLIENT_H

#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#undef interface /* a macro for COM, a member's name in pmu.h */

#include "json.h"
#include "pmctest.h"

#define PROTOCOL_VERSION 1u

#define MAX_DEVICES 16u
#define LINE_ROOM (1u << 20)    /* longest request */
#define ANSWER_ROOM (8u << 20)  /* longest answer: the log of the largest race has about 2 MiB */
#define SCRATCH_ROOM (4u << 20) /* largest input or output of the driver */
#define PATH_ROOM 1024u         /* UTF-16 units */
#define VALUE_ROOM 4096u
#define COMMAND_ROOM 8192u

struct failure {
	const char *kind; /* "win32", "ntstatus", "protocol"; NULL: none */
	uint32_t code;
	const char *what;
};

/* The second process. */
struct holder {
	HANDLE process; /* NULL: none */
	HANDLE orders;  /* we write handles to free */
	HANDLE reports; /* we read struct pmctest_call */
};

struct client {
	HANDLE devices[MAX_DEVICES]; /* NULL: free entry; the protocol counts from 1 */
	struct holder holder;
	uint8_t *scratch; /* SCRATCH_ROOM bytes for requests to the driver */
	bool ended;       /* `exit` was asked for */
};

/* What a step of a sequence made, for the steps behind it. 0: no device; `handle` says nothing unless `has_handle`. */
struct made {
	uint32_t device;
	bool has_handle;
	uint64_t handle;
};

/* One request being answered. The first failure wins, and getters then answer zeros: check failed() before acting. */
struct exchange {
	struct client *client;
	struct json args;
	struct json_writer out; /* members of the result */
	struct failure failure;
	struct made made;
	const struct made *earlier; /* the steps in front of this one; NULL outside a sequence */
	uint32_t steps;		    /* so many */
};

/* exchange.c */
bool failed(const struct exchange *exchange);
void fail(struct exchange *exchange, const char *kind, uint32_t code, const char *what);
void fail_win32(struct exchange *exchange, const char *what); /* with GetLastError() */
void fail_protocol(struct exchange *exchange, const char *what);

bool arg_given(struct exchange *exchange, const char *name, struct json *value); /* there, and not null */
uint32_t arg_u32(struct exchange *exchange, const char *name);
uint32_t arg_u32_or(struct exchange *exchange, const char *name, uint32_t otherwise);
uint64_t arg_hex(struct exchange *exchange, const char *name);
uint64_t arg_hex_or(struct exchange *exchange, const char *name, uint64_t otherwise);
/* The arguments `device` and `handle`: a number, or in a sequence {"step": n}, what its step n (from 0) made. */
uint32_t arg_device_number(struct exchange *exchange);
uint64_t arg_handle(struct exchange *exchange);
bool arg_bool_or(struct exchange *exchange, const char *name, bool otherwise);
bool arg_is(struct exchange *exchange, const char *name, const char *word);
/* Text as UTF-16; `room` units with the end. */
void arg_wide(struct exchange *exchange, const char *name, wchar_t *text, size_t room);
void put_wide(struct exchange *exchange, const char *name, const wchar_t *text);

/* device.c: the driver, by its I/O control codes. 0, or the Win32 error of the transport. */
uint32_t device_open(const wchar_t *name, HANDLE *device);
uint32_t device_ask(HANDLE device, uint32_t code, const void *in, uint32_t in_bytes, void *out, uint32_t out_bytes, uint32_t *written);
/* patience.c: a call of a routine, given up with ERROR_TIMEOUT when it does not return; 0 ms: waited for, however long it takes. */
uint32_t device_call(HANDLE device, uint32_t code, const void *in, uint32_t in_bytes, uint32_t timeout_ms, struct pmctest_call *call);
/* The plain (NULL, 0, NULL) request. */
uint32_t device_allocate(HANDLE device, struct pmctest_call *call);
uint32_t device_free(HANDLE device, uint64_t handle, struct pmctest_call *call);
/* The device that the argument `device` names. */
HANDLE arg_device(struct exchange *exchange);
void fail_transport(struct exchange *exchange, uint32_t error);
/* The argument `irql`: 2 is DISPATCH_LEVEL, 0 or none leaves it alone. */
bool arg_at_dispatch(struct exchange *exchange);
void put_call(struct json_writer *out, const struct pmctest_call *call, uint32_t transport); /* members only */

/* holder.c */
int holder_main(const wchar_t *mode, const wchar_t *name);
void holder_end(struct holder *holder);

/* Operations, see guest_driver/PROTOCOL.md. */
typedef void operation(struct exchange *exchange);
operation op_hello;                                                                            /* serve.c */
operation op_facts, op_file_hash, op_clock_set, op_memory, op_exit;                                      /* ops_system.c */
operation op_system_state;                                                                     /* ops_state.c */
operation op_service_create, op_service_start, op_service_stop, op_service_delete, op_service_query; /* ops_service.c */
operation op_hal_configure;                                                                    /* ops_hal.c */
operation op_registry_set, op_registry_get, op_registry_delete;                                /* ops_registry.c */
operation op_process_run, op_process_list, op_process_kill;                                   /* ops_process.c */
operation op_file_list, op_file_delete;                                                       /* ops_files.c */
operation op_events_read, op_boot;                                                            /* ops_events.c */
operation op_etw_sources, op_etw_start, op_etw_stop;                                          /* ops_etw.c */
operation op_device_open, op_device_close, op_driver_info, op_holdings, op_overflows, op_free, op_cycles; /* ops_driver.c */
operation op_race, op_race_client;                                                            /* ops_race.c */
operation op_count, op_count_all, op_interrupt, op_guard;                                                    /* ops_count.c */
operation op_allocate, op_leak;                                                                /* ops_allocate.c */
operation op_ioctl_raw;                                                                        /* ops_raw.c */
operation op_holder_start, op_holder_kill, op_holder_free;                                     /* ops_holder.c */
operation op_sequence;                                                                         /* ops_sequence.c */

/* serve.c: one operation with its arguments, {"op": …, "args": …}. */
void run_operation(struct exchange *exchange, struct json request);
void put_error(struct json_writer *out, const struct failure *failure); /* the member `error` */
/* serve.c: the whole conversation, over pipes or a serial port. Exit code of the process. */
int serve(HANDLE from, HANDLE to, bool port);
/* port.c */
int serve_port(const wchar_t *name);
bool port_read(HANDLE port, char *bytes, DWORD room, DWORD *filled);
int one_shot(int count, wchar_t **words);              /* one_shot.c */
bool write_all(HANDLE to, const void *bytes, size_t length); /* main.c */

#endif
