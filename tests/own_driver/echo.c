/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver that has nothing to do with counters: the example of docs/your-own-driver.md. Its device \\.\echo answers one request,
 * CTL_CODE(0x8000, 0x800, METHOD_BUFFERED, FILE_READ_DATA), with the bytes that came.
 *
 * FAIL makes DriverEntry fail; NO_UNLOAD leaves the unload routine out; MISSING imports a routine that no kernel has;
 * CRASH writes where no memory is.
 */
#include "nt.h"

#define ECHO 0x80006000u

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING registry_path);
#ifdef MISSING
__declspec(dllimport) void NTAPI KeDoWhatNoKernelDoes(void);
#endif

static UNICODE_STRING link;

static NTSTATUS complete(PIRP irp, NTSTATUS status, ULONG written)
{
	irp->IoStatus.Status = status;
	irp->IoStatus.Information = written;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	return status;
}

static NTSTATUS NTAPI on_open_or_close(PDEVICE_OBJECT device, PIRP irp)
{
	(void)device;
	return complete(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS NTAPI on_control(PDEVICE_OBJECT device, PIRP irp)
{
	PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
	ULONG in = stack->Parameters.DeviceIoControl.InputBufferLength, out = stack->Parameters.DeviceIoControl.OutputBufferLength;

	(void)device;
	if (stack->Parameters.DeviceIoControl.IoControlCode != ECHO)
		return complete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
	if (out < in)
		return complete(irp, STATUS_BUFFER_TOO_SMALL, 0);
	return complete(irp, STATUS_SUCCESS, in); /* input and output share the system's buffer */
}

#ifndef NO_UNLOAD
static void NTAPI on_unload(PDRIVER_OBJECT driver)
{
	IoDeleteSymbolicLink(&link);
	IoDeleteDevice(driver->DeviceObject);
}
#endif

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING registry_path)
{
	UNICODE_STRING name;
	PDEVICE_OBJECT device;
	NTSTATUS status;

	(void)registry_path;
#ifdef FAIL
	return STATUS_DEVICE_CONFIGURATION_ERROR;
#endif
#ifdef CRASH
	*(volatile int *)(ULONG_PTR)driver->Size = 1; /* an address, but nobody's */
#endif
#ifdef MISSING
	KeDoWhatNoKernelDoes();
#endif
	RtlInitUnicodeString(&name, L"\\Device\\echo");
	RtlInitUnicodeString(&link, L"\\DosDevices\\echo");
	status = IoCreateDevice(driver, 0, &name, 0x8000, FILE_DEVICE_SECURE_OPEN, FALSE, &device);
	if (!NT_SUCCESS(status))
		return status;
	status = IoCreateSymbolicLink(&link, &name);
	if (!NT_SUCCESS(status)) {
		IoDeleteDevice(device);
		return status;
	}
	driver->MajorFunction[IRP_MJ_CREATE] = on_open_or_close;
	driver->MajorFunction[IRP_MJ_CLOSE] = on_open_or_close;
	driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = on_control;
#ifndef NO_UNLOAD
	driver->DriverUnload = on_unload;
#endif
	return STATUS_SUCCESS;
}
