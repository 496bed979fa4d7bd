/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel that the handlers see on this host. Each block of memory ends at a page that cannot be touched, and is unmapped when it
 * is freed: one byte too far, or too late, ends the process. A HAL that grants once, and a PMU that faults on RDPMC.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "driver.h"
#include "pmu_x86.h"

#define PAGE 4096u
#define SLACK 0xEEu /* between the end of a block and its page, where the block is no multiple of 8 */

struct routines routines;
BOOLEAN shared_layout = TRUE;
enum pmctest_image routines_image = PMCTEST_IMAGE_OTHER;
POOL_TYPE pool_kind;

static struct instance instance;
static struct file file;

struct block {
	uint8_t *pages;
	size_t mapped, bytes, padded;
};

static struct block block_take(size_t bytes)
{
	struct block block = { .bytes = bytes, .padded = (bytes + 7) & ~(size_t)7 };
	size_t usable = (block.padded + PAGE - 1) / PAGE * PAGE;

	block.mapped = usable + PAGE;
	block.pages = mmap(NULL, block.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (block.pages == MAP_FAILED || mprotect(block.pages + usable, PAGE, PROT_NONE) != 0)
		abort();
	memset(block.pages + usable - block.padded + bytes, SLACK, block.padded - bytes);
	return block;
}

static uint8_t *block_start(const struct block *block)
{
	return block->pages + block->mapped - PAGE - block->padded;
}

static void block_return(const struct block *block)
{
	const uint8_t *start = block_start(block);

	for (size_t i = block->bytes; i < block->padded; i++) {
		if (start[i] != SLACK) {
			fprintf(stderr, "written behind the end of a block of %zu bytes\n", block->bytes);
			abort();
		}
	}
	munmap(block->pages, block->mapped);
}

static struct block pool[4096];

void *ExAllocatePoolWithTag(POOL_TYPE type, SIZE_T bytes, ULONG tag)
{
	(void)type;
	(void)tag;
	for (size_t i = 0; i < RTL_NUMBER_OF(pool); i++) {
		if (pool[i].pages == NULL) {
			pool[i] = block_take(bytes);
			return block_start(&pool[i]);
		}
	}
	return NULL;
}

void ExFreePoolWithTag(void *memory, ULONG tag)
{
	(void)tag;
	for (size_t i = 0; i < RTL_NUMBER_OF(pool); i++) {
		if (pool[i].pages != NULL && block_start(&pool[i]) == memory) {
			block_return(&pool[i]);
			pool[i].pages = NULL;
			return;
		}
	}
	abort(); /* freed twice, or never taken */
}

/* The HAL reads all that it is told is there. */
static volatile uint64_t sink;
static pthread_mutex_t hal = PTHREAD_MUTEX_INITIALIZER;
static uint64_t holder, granted;

static int32_t allocate(struct counter_affinity *affinity, uint32_t groups, void *list, void **handle)
{
	const struct counter_list_v2 *resources = list;
	int32_t status = STATUS_INSUFFICIENT_RESOURCES;

	for (uint32_t i = 0; affinity != NULL && i < groups; i++)
		sink += affinity[i].mask;
	for (uint32_t i = 0; resources != NULL && i < resources->count; i++)
		sink += resources->descriptors[i].type + resources->descriptors[i].u.event_buffer.threshold;
	if (handle == NULL) /* asked on purpose */
		return STATUS_INVALID_PARAMETER;
	*handle = NULL;
	pthread_mutex_lock(&hal);
	if (holder == 0) {
		holder = ++granted * 0x100 + 0x48;
		*handle = (void *)holder;
		status = STATUS_SUCCESS;
	}
	pthread_mutex_unlock(&hal);
	return status;
}

static int32_t release(void *handle)
{
	int32_t status = STATUS_INVALID_PARAMETER;

	pthread_mutex_lock(&hal);
	if (handle != NULL && (uint64_t)handle == holder) {
		holder = 0;
		status = STATUS_SUCCESS;
	}
	pthread_mutex_unlock(&hal);
	return status;
}

static KIRQL passive(void)
{
	return PASSIVE_LEVEL;
}

static ULONG two(USHORT group)
{
	(void)group;
	return 2;
}

static ULONG cpu_0(PPROCESSOR_NUMBER number)
{
	*number = (PROCESSOR_NUMBER){ 0 };
	return 0;
}

static KAFFINITY pin(KAFFINITY mask)
{
	return mask;
}

static void unpin(KAFFINITY mask)
{
	(void)mask;
}

NTSTATUS irql_raise(KIRQL *before)
{
	*before = 0;
	return STATUS_SUCCESS;
}

void irql_lower(KIRQL before)
{
	(void)before;
}

/* Threads, so that a race is one. */
static void *entry(void *context)
{
	struct thread *thread = context;

	thread->body(thread->context);
	return NULL;
}

NTSTATUS thread_start(struct thread *thread, thread_body *body, void *context)
{
	thread->body = body;
	thread->context = context;
	return pthread_create((pthread_t *)&thread->handle, NULL, entry, thread) == 0 ? STATUS_SUCCESS : STATUS_NO_MEMORY;
}

void thread_join(struct thread *thread)
{
	if (thread->handle != NULL)
		pthread_join((pthread_t)thread->handle, NULL);
	thread->handle = NULL;
}

/* A PMU of Intel's version 2 (or another) with 4 + 3 counters, all of them dead. */
uint32_t host_pmu_version = 2, host_pmu_writes;

uint32_t pmu_guarded(uint32_t op, uint32_t reg, uint64_t *value)
{
	(void)reg;
	host_pmu_writes += op == PMU_MSR_WRITE;
	if (op == PMU_MSR_READ)
		*value = 0;
	return op == PMU_RDPMC ? 13 : 0;
}

void pmu_cpuid(uint32_t leaf, uint32_t subleaf, struct pmu_cpuid *out)
{
	(void)subleaf;
	*out = (struct pmu_cpuid){ .eax = leaf == 0 ? 0xa : leaf == 0xa ? 0x07300400u | host_pmu_version : 0, .edx = leaf == 0xa ? 0x603u : 0 };
}

void host_start(int destructive)
{
	memset(&instance, 0, sizeof instance);
	instance.held.Flink = instance.held.Blink = &instance.held;
	instance.destructive = (BOOLEAN)destructive;
	file = (struct file){ .number = 1 };
	holder = 0;
	routines = (struct routines){
		.allocate = allocate, .free = release, .current_irql = passive, .processor_count = two, .current_processor = cpu_0,
		.set_affinity = pin, .revert_affinity = unpin,
	};
}

/*
 * One request, as the I/O manager brings a buffered one: a system buffer as long as the longer of the two. `cancelled`: the I/O manager
 * has been told already that nobody waits for it.
 */
uint32_t host_request(uint32_t code, const void *input, uint32_t in, void *output, uint32_t out, int cancelled)
{
	struct block block = block_take(max(in, out));
	FILE_OBJECT object = { &file };
	DEVICE_OBJECT device = { &instance };
	IRP irp = { .Cancel = (BOOLEAN)cancelled };

	memcpy(block_start(&block), input, in);
	irp.AssociatedIrp.SystemBuffer = block_start(&block);
	irp.stack.FileObject = &object;
	irp.stack.Parameters.DeviceIoControl.IoControlCode = code;
	irp.stack.Parameters.DeviceIoControl.InputBufferLength = in;
	irp.stack.Parameters.DeviceIoControl.OutputBufferLength = out;
	dispatch_control(&device, &irp);
	if (irp.IoStatus.Information > out) {
		fprintf(stderr, "code %#x: %zu bytes for a buffer of %u\n", code, (size_t)irp.IoStatus.Information, out);
		abort();
	}
	if (output != NULL)
		memcpy(output, block_start(&block), irp.IoStatus.Information);
	block_return(&block);
	return (uint32_t)irp.IoStatus.Status;
}

/* Close the handle, free what the instance keeps; what is left of the pool in bytes. */
uint64_t host_end(void)
{
	holding_release(&instance, &file);
	holding_release(&instance, NULL);
	for (size_t i = 0; i < RTL_NUMBER_OF(pool); i++) {
		if (pool[i].pages != NULL)
			return pool[i].bytes;
	}
	return (uint64_t)instance.pool_bytes + instance.held_count;
}
