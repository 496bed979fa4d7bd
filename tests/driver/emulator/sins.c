/* SPDX-License-Identifier: Apache-2.0 */
/* A driver that does one wrong thing per request: the model of the kernel has to find each of them. */
#include "nt.h"

#define TAG 'niSB'

static KMUTEX mutex;
static volatile UCHAR *memory;

static __attribute__((noinline)) void faulting(void)
{
	__asm__ volatile("rdmsr" : : "c"(0x12345) : "eax", "edx");
}

static LONG refuse(void)
{
	return EXCEPTION_CONTINUE_SEARCH;
}

/* Two frames, the inner one does not want it; what was in registers is needed afterwards. */
static __attribute__((noinline)) NTSTATUS nested(NTSTATUS status)
{
	NTSTATUS answer = status + 1;

	__try {
		__try {
			faulting();
			answer = STATUS_UNSUCCESSFUL;
		} __except (refuse()) {
			answer = STATUS_UNSUCCESSFUL;
		}
	} __except (EXCEPTION_EXECUTE_HANDLER) {
		answer = answer == status + 1 ? (NTSTATUS)_exception_code() : STATUS_UNSUCCESSFUL;
	}
	return answer;
}

static NTSTATUS sin(ULONG number, PIRP irp, ULONG out)
{
	volatile UCHAR *buffer = irp->AssociatedIrp.SystemBuffer;

	switch (number) {
	case 0: return STATUS_SUCCESS;
	case 1: buffer[out] = 1; break; /* behind the end */
	case 2: buffer[-1] = 1; break;
	case 3: memory = ExAllocatePoolWithTag(NonPagedPool, 20, TAG); memory[20] = 1; ExFreePoolWithTag((void *)memory, TAG); break;
	case 4: memory = ExAllocatePoolWithTag(NonPagedPool, 20, TAG); ExFreePoolWithTag((void *)memory, TAG); memory[0] = 1; break;
	case 5: memory = ExAllocatePoolWithTag(NonPagedPool, 20, TAG); ExFreePoolWithTag((void *)memory, TAG);
		ExFreePoolWithTag((void *)memory, TAG); break;
	case 6: KeWaitForSingleObject(&mutex, Executive, KernelMode, FALSE, NULL); break;
	case 7: KeReleaseMutex(&mutex, FALSE); break;
	case 8: IoCompleteRequest(irp, IO_NO_INCREMENT); break;
	case 9: irp->IoStatus.Information = out + 1; return STATUS_SUCCESS;
	case 10: faulting(); break;
	case 11: *(volatile UCHAR *)NULL = 1; break;
	case 12: *(volatile UCHAR *)(ULONG_PTR)sin = 1; break; /* code is not writable */
	case 13: for (;;) YieldProcessor();
	case 14: __asm__ volatile("movq $7, %r15; movq %r15, %xmm7"); break;
	case 15: memory = ExAllocatePoolWithTag(NonPagedPool, 20, TAG); return STATUS_SUCCESS; /* seen at unload */
	case 16: __writecr8(DISPATCH_LEVEL); ZwClose(NULL); break;
	case 17: __writecr8(DISPATCH_LEVEL); break;
	case 18: ((void (*)(void))(ULONG_PTR)buffer)(); break; /* data is not executable */
	case 19: return nested((NTSTATUS)out);
	case 20: ZwClose((HANDLE)(ULONG_PTR)0x1234); break;
	default: break;
	}
	return STATUS_UNSUCCESSFUL;
}

static NTSTATUS NTAPI dispatch(PDEVICE_OBJECT device, PIRP irp)
{
	PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
	NTSTATUS status = STATUS_SUCCESS;

	(void)device;
	if (stack->MajorFunction == IRP_MJ_DEVICE_CONTROL)
		status = sin(stack->Parameters.DeviceIoControl.IoControlCode, irp, stack->Parameters.DeviceIoControl.OutputBufferLength);
	irp->IoStatus.Status = status;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	return status;
}

static void NTAPI unload(PDRIVER_OBJECT driver)
{
	IoDeleteDevice(driver->DeviceObject);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
	UNICODE_STRING name;
	PDEVICE_OBJECT device;

	(void)path;
	RtlInitUnicodeString(&name, L"\\Device\\sins");
	KeInitializeMutex(&mutex, 0);
	for (ULONG i = 0; i < 28; i++)
		driver->MajorFunction[i] = dispatch;
	driver->DriverUnload = unload;
	return IoCreateDevice(driver, 8, &name, FILE_DEVICE_UNKNOWN, 0, FALSE, &device);
}
