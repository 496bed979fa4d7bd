/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As much of ntddk.h as the request handlers of the test driver use, for this host: a stand-in that lets their memory accesses be
 * watched. It says nothing about Windows.
 */
#ifndef HALPMC_NT_H
#define HALPMC_NT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef int32_t NTSTATUS, LONG;
typedef uint32_t ULONG, ACCESS_MASK, SECURITY_INFORMATION;
typedef uint64_t ULONG64, ULONG_PTR, KAFFINITY;
typedef int64_t LONG64;
typedef size_t SIZE_T;
typedef uint16_t USHORT, WCHAR;
typedef uint8_t UCHAR, BOOLEAN, KIRQL;
typedef void *PVOID, *HANDLE, *PACCESS_STATE, *POBJECT_TYPE, *PSECURITY_DESCRIPTOR;
typedef HANDLE *PHANDLE;
typedef const WCHAR *PCWSTR;
typedef int POOL_TYPE, KPROCESSOR_MODE;
typedef struct { int unused; } KMUTEX;
typedef struct list_entry { struct list_entry *Flink, *Blink; } LIST_ENTRY;
typedef union { int64_t QuadPart; } LARGE_INTEGER, *PLARGE_INTEGER;
typedef struct { USHORT Length, MaximumLength; WCHAR *Buffer; } UNICODE_STRING, *PUNICODE_STRING;
typedef struct { USHORT Group; UCHAR Number, Reserved; } PROCESSOR_NUMBER, *PPROCESSOR_NUMBER;
typedef struct { KAFFINITY Mask; USHORT Group, Reserved[3]; } GROUP_AFFINITY, *PGROUP_AFFINITY;
typedef struct { void *FsContext; } FILE_OBJECT;
typedef struct { void *DeviceExtension; } DEVICE_OBJECT, *PDEVICE_OBJECT;
typedef struct {
	FILE_OBJECT *FileObject;
	struct {
		struct { ULONG OutputBufferLength, InputBufferLength, IoControlCode; } DeviceIoControl;
	} Parameters;
} IO_STACK_LOCATION, *PIO_STACK_LOCATION;
typedef struct {
	struct { void *SystemBuffer; } AssociatedIrp;
	struct { NTSTATUS Status; ULONG_PTR Information; } IoStatus;
	BOOLEAN Cancel;
	IO_STACK_LOCATION stack;
} IRP, *PIRP;

#define NTAPI
#define FASTCALL
#define TRUE 1
#define FALSE 0
#define PASSIVE_LEVEL 0
#define ALL_PROCESSOR_GROUPS 0xffff
#define IO_NO_INCREMENT 0
enum { Executive, KernelMode };
#define NT_SUCCESS(status) ((NTSTATUS)(status) >= 0)
#define STATUS_SUCCESS ((NTSTATUS)0)
#define STATUS_BUFFER_TOO_SMALL ((NTSTATUS)0xC0000023)
#define STATUS_INVALID_PARAMETER ((NTSTATUS)0xC000000D)
#define STATUS_INVALID_DEVICE_REQUEST ((NTSTATUS)0xC0000010)
#define STATUS_NO_MEMORY ((NTSTATUS)0xC0000017)
#define STATUS_ACCESS_DENIED ((NTSTATUS)0xC0000022)
#define STATUS_QUOTA_EXCEEDED ((NTSTATUS)0xC0000044)
#define STATUS_PROCEDURE_NOT_FOUND ((NTSTATUS)0xC000007A)
#define STATUS_INSUFFICIENT_RESOURCES ((NTSTATUS)0xC000009A)
#define STATUS_NOT_SUPPORTED ((NTSTATUS)0xC00000BB)
#define STATUS_CANCELLED ((NTSTATUS)0xC0000120)
#define STATUS_INVALID_DEVICE_STATE ((NTSTATUS)0xC0000184)
#define RTL_NUMBER_OF(array) (sizeof(array) / sizeof((array)[0]))
#define FIELD_OFFSET(type, field) offsetof(type, field)
#define CONTAINING_RECORD(at, type, field) ((type *)((char *)(at) - offsetof(type, field)))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define RtlZeroMemory(to, bytes) memset((to), 0, (bytes))
#define RtlCopyMemory(to, from, bytes) memcpy((to), (from), (bytes))
#define InterlockedIncrement(at) __atomic_add_fetch((at), 1, __ATOMIC_SEQ_CST)
#define InterlockedAdd64(at, value) __atomic_add_fetch((at), (value), __ATOMIC_SEQ_CST)
#define InterlockedOr(at, value) __atomic_fetch_or((at), (value), __ATOMIC_SEQ_CST)
#define InterlockedExchange(at, value) __atomic_exchange_n((at), (value), __ATOMIC_SEQ_CST)
#define YieldProcessor() __builtin_ia32_pause()
#define IoGetCurrentIrpStackLocation(irp) (&(irp)->stack)
#define IoCompleteRequest(irp, boost) ((void)(irp))
#define KeWaitForSingleObject(object, reason, mode, alertable, timeout) ((void)(object))
#define KeReleaseMutex(mutex, wait) ((void)(mutex))
#define KeDelayExecutionThread(mode, alertable, interval) ((void)(interval))

static inline KIRQL __readcr8(void)
{
	return PASSIVE_LEVEL;
}

static inline void InsertTailList(LIST_ENTRY *head, LIST_ENTRY *entry)
{
	entry->Flink = head;
	entry->Blink = head->Blink;
	head->Blink->Flink = entry;
	head->Blink = entry;
}

static inline void RemoveEntryList(LIST_ENTRY *entry)
{
	entry->Blink->Flink = entry->Flink;
	entry->Flink->Blink = entry->Blink;
}

void *ExAllocatePoolWithTag(POOL_TYPE type, SIZE_T bytes, ULONG tag);
void ExFreePoolWithTag(void *memory, ULONG tag);

#endif
