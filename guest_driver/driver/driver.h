/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The test driver's own interfaces, module by module. All code and data is resident. Everything runs at PASSIVE_LEVEL but the overflow
 * handlers, and the call between irql_raise() and irql_lower().
 */
#ifndef HALPMC_DRIVER_H
#define HALPMC_DRIVER_H

#include "nt.h"
#include "pmctest.h"

_Static_assert(sizeof(GROUP_AFFINITY) == sizeof(struct counter_affinity), "GROUP_AFFINITY");

/*
 * Routines that a system may lack, resolved at run time; NULL when absent. The HAL pair is what the driver is for; the others
 * differ between Windows versions and Wine.
 */
struct routines {
	counter_allocate_fn *allocate;
	counter_free_fn *free;
	void(NTAPI *set_group_affinity)(PGROUP_AFFINITY affinity, PGROUP_AFFINITY previous);
	void(NTAPI *revert_group_affinity)(PGROUP_AFFINITY previous);
	KAFFINITY(NTAPI *set_affinity)(KAFFINITY affinity);
	void(NTAPI *revert_affinity)(KAFFINITY previous);
	NTSTATUS(NTAPI *processor_from_index)(ULONG index, PPROCESSOR_NUMBER number);
	ULONG(NTAPI *current_processor)(PPROCESSOR_NUMBER number);
	ULONG(NTAPI *processor_count)(USHORT group);
	KIRQL(NTAPI *current_irql)(void);
	LARGE_INTEGER(NTAPI *performance_counter)(PLARGE_INTEGER frequency);
	NTSTATUS(NTAPI *yield)(void);
	KIRQL(FASTCALL *raise_irql)(KIRQL irql);
	KIRQL(NTAPI *raise_to_dispatch)(void);
	void(NTAPI *lower_irql)(KIRQL irql);
	PVOID(NTAPI *image_of)(PVOID address, PVOID *base);
	USHORT(NTAPI *group_count)(void);
	NTSTATUS(NTAPI *open_object)(PVOID object, ULONG attributes, PACCESS_STATE state, ACCESS_MASK access, POBJECT_TYPE type,
				     KPROCESSOR_MODE mode, PHANDLE handle);
	NTSTATUS(NTAPI *set_security)(HANDLE handle, SECURITY_INFORMATION which, PSECURITY_DESCRIPTOR descriptor);
};

extern struct routines routines; /* written in DriverEntry only, with the same values by every instance */
extern BOOLEAN shared_layout;    /* this system reads resource lists in the layout of 1903 and later */
extern enum pmctest_image routines_image; /* that holds the routine which allocates */
extern POOL_TYPE pool_kind;      /* NonPagedPoolNx exists since Windows 8 */

void resolve_routines(void);

/* One loaded instance: the device extension. */
struct instance {
	KMUTEX lock;      /* of the lists below; never held while a HAL routine runs */
	KMUTEX registers; /* held while PMU registers are written, and while an allocation is freed: neither in the midst of the other */
	LIST_ENTRY held; /* struct holding */
	ULONG held_count;
	ULONG next_remembered;
	HANDLE remembered[PMCTEST_REMEMBERED_HANDLES];
	volatile LONG64 pool_bytes;
	BOOLEAN secured;
	BOOLEAN destructive; /* the registry allowed it when the driver started */
	volatile LONG files; /* opened since the load */
	UNICODE_STRING link;
	WCHAR link_text[PMCTEST_NAME_CHARS + 16];
};

/* One open handle of the device: FsContext of its file object. */
struct file {
	volatile BOOLEAN closed; /* cleanup has run: what is granted from now on is freed at once */
	ULONG number;            /* for people; from 1 */
};

/* pool.c: nonpaged, never executable, counted. NULL when there is none left. */
void *pool_take(struct instance *instance, SIZE_T bytes);
void pool_return(struct instance *instance, void *memory, SIZE_T bytes);

/* cpu.c */
struct pin {
	BOOLEAN pinned;
	GROUP_AFFINITY previous_group;
	KAFFINITY previous;
};
ULONG cpu_count(void);
void cpu_current(ULONG *number, USHORT *group);
/* Keep this thread on the CPU with this index over all groups; PMCTEST_ANY_CPU leaves it alone. */
NTSTATUS cpu_pin(ULONG index, struct pin *pin);
/* Keep it on the CPU where it is. */
NTSTATUS cpu_pin_here(struct pin *pin);
void cpu_unpin(struct pin *pin);

/* irql.c: to DISPATCH_LEVEL and back. STATUS_NOT_SUPPORTED where the system has no routine for it. */
NTSTATUS irql_raise(KIRQL *before);
void irql_lower(KIRQL before);

/* calls.c: one observed call. The caller has made sure that the routine is present. `dispatch`: at DISPATCH_LEVEL; the status is that
 * of the change, and there is no call when it fails. `flags`: PMCTEST_DISPATCH and PMCTEST_NULL_CELL of enum pmctest_allocate_flags. */
NTSTATUS call_allocate(struct counter_affinity *affinity, ULONG group_count, void *list, ULONG64 poison, ULONG flags,
		       struct pmctest_call *call);
NTSTATUS call_free(HANDLE handle, BOOLEAN dispatch, struct pmctest_call *call);
/*
 * The same two calls for loops of thousands: nothing but the status and the handle is looked at, because reading the IRQL is a trap
 * where the register is emulated (Wine), which costs more than the call. call_describe() makes an observation of one that matters.
 */
NTSTATUS bare_allocate(ULONG64 poison, HANDLE *handle);
NTSTATUS bare_free(HANDLE handle);
void call_describe(NTSTATUS status, HANDLE handle, BOOLEAN written, struct pmctest_call *call);

/* holdings.c: which file holds what, and which handles the HAL ever returned. */
struct holding {
	LIST_ENTRY link;
	struct file *owner; /* NULL: the instance */
	HANDLE handle;
	BOOLEAN whole; /* all counters of all CPUs were asked for */
	ULONG64 handled; /* counters of all CPUs that were asked for with an overflow handler, by index */
};
struct holding *holding_prepare(struct instance *instance);
void holding_discard(struct instance *instance, struct holding *holding);
/* Hand a granted handle over to the file; FALSE when it is closed already or too much is held: the caller must free the handle. */
BOOLEAN holding_keep(struct instance *instance, struct holding *holding, struct file *file, HANDLE handle);
void holding_forget(struct instance *instance, HANDLE handle);
BOOLEAN holding_remembers(struct instance *instance, HANDLE handle);
/* Whether the file holds all counters of all CPUs. */
BOOLEAN holding_whole(struct instance *instance, const struct file *file);
/* Whether this file holds the counter with this index, with a handler for its overflows. */
BOOLEAN holding_handled(struct instance *instance, const struct file *file, ULONG index);
ULONG holding_count(struct instance *instance);
/* Free everything that the file holds, or with NULL everything at all. */
void holding_release(struct instance *instance, struct file *file);

/* Whoever writes PMU registers, or frees. */
void registers_lock(struct instance *instance);
void registers_unlock(struct instance *instance);

/* overflow.c: the handlers that the HAL may call at PROFILE_LEVEL, and what they saw. */
counter_overflow_handler on_overflow;
counter_event_buffer_handler on_event_buffer;

/* settings.c: a number of the service's own registry key is 1. */
BOOLEAN setting_enabled(PUNICODE_STRING service_key, PCWSTR name);

/* thread.c: run `body(context)` on a system thread; thread_join waits for its end. */
typedef void thread_body(void *context);
struct thread {
	thread_body *body;
	void *context;
	HANDLE handle;
};
NTSTATUS thread_start(struct thread *thread, thread_body *body, void *context);
void thread_join(struct thread *thread);

/* secure.c: restrict the device to administrators and SYSTEM. */
NTSTATUS secure_device(PDEVICE_OBJECT device, BOOLEAN *secured);

/*
 * Requests: `buffer` holds `in` bytes of input, takes `out` bytes of output, and is at least as large as the request's structures.
 * The status is the transport's; *written is the length of the answer.
 */
struct request {
	struct instance *instance;
	struct file *file;
	void *buffer;
	ULONG in, out;
	ULONG written;
	PIRP irp;
};
/* The caller gave up: its thread ends, or its handle of the device is gone. Long work looks here between its steps. */
BOOLEAN request_cancelled(const struct request *request);
NTSTATUS request_info(struct request *request);     /* info.c */
NTSTATUS request_allocate(struct request *request); /* allocate.c */
NTSTATUS request_free(struct request *request);     /* free.c */
NTSTATUS request_cycles(struct request *request);   /* cycles.c */
NTSTATUS request_race(struct request *request);     /* race.c */
NTSTATUS request_count(struct request *request);    /* count.c */
NTSTATUS request_count_all(struct request *request); /* count.c */
NTSTATUS request_guard(struct request *request);    /* count.c */
NTSTATUS request_interrupt(struct request *request); /* count.c */
NTSTATUS request_holdings(struct request *request); /* holdings.c */
NTSTATUS request_overflows(struct request *request); /* overflow.c */

NTSTATUS NTAPI dispatch_control(PDEVICE_OBJECT device, PIRP irp); /* dispatch.c */

#endif
