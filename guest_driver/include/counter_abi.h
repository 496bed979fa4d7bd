/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The binary interface of HalAllocateHardwareCounters / HalFreeHardwareCounters, written from the public documentation.
 *
 * ntddk.h of mingw-w64 has the structures of Windows 7, where a descriptor has 16 bytes. Windows 10 1903 added members that hold
 * pointers, so there a descriptor has 24 bytes and the list's descriptors start at offset 8. Both are here under names of their
 * own; which one a call needs depends on the build of the system that runs (COUNTER_SHARED_BUILD).
 */
#ifndef HALPMC_COUNTER_ABI_H
#define HALPMC_COUNTER_ABI_H

#include <stddef.h>
#include <stdint.h>

#define COUNTER_SHARED_BUILD 18362u /* Windows 10 1903: first build of the shared generation */

enum counter_resource_type {
	COUNTER_SINGLE = 0,
	COUNTER_RANGE = 1,
	COUNTER_EXTENDED_CONFIGURATION = 2,
	COUNTER_OVERFLOW = 3,
	COUNTER_EVENT_BUFFER = 4,       /* since 1903 */
	COUNTER_IDENTIFICATION_TAG = 5, /* since 1903 */
	COUNTER_TYPE_MAX = 6,
};

/* GROUP_AFFINITY */
struct counter_affinity {
	uint64_t mask;
	uint16_t group;
	uint16_t reserved[3]; /* zero */
};

/* PHYSICAL_COUNTER_RESOURCE_DESCRIPTOR and _LIST up to 1903 */
struct counter_descriptor_v1 {
	uint32_t type;
	uint32_t flags; /* zero */
	union {
		uint32_t index;
		struct {
			uint32_t begin, end;
		} range;
	} u;
};

struct counter_list_v1 {
	uint32_t count;
	struct counter_descriptor_v1 descriptors[1];
};

/* The same since 1903 */
typedef void counter_overflow_handler(uint64_t overflow_bits, void *owning_handle);
typedef void counter_event_buffer_handler(void *buffer, uint64_t entry_size, uint64_t entries, void *owning_handle);

struct counter_event_buffer {
	counter_event_buffer_handler *handler;
	uint32_t custom_entry_size; /* zero */
	uint32_t threshold;
};

struct counter_descriptor_v2 {
	uint32_t type;
	uint32_t flags; /* zero */
	union {
		uint32_t index;
		struct {
			uint32_t begin, end;
		} range;
		counter_overflow_handler *overflow_handler;
		struct counter_event_buffer event_buffer;
		uint32_t tag;
	} u;
};

struct counter_list_v2 {
	uint32_t count;
	struct counter_descriptor_v2 descriptors[1];
};

/* The two routines; NTAPI has no meaning on 64-bit systems. */
typedef int32_t counter_allocate_fn(struct counter_affinity *affinity, uint32_t group_count, void *list, void **handle);
typedef int32_t counter_free_fn(void *handle);

_Static_assert(sizeof(void *) == 8, "64-bit systems only");
_Static_assert(sizeof(struct counter_affinity) == 16, "GROUP_AFFINITY");
_Static_assert(offsetof(struct counter_affinity, group) == 8, "GROUP_AFFINITY.Group");
_Static_assert(offsetof(struct counter_affinity, reserved) == 10, "GROUP_AFFINITY.Reserved");
_Static_assert(sizeof(struct counter_descriptor_v1) == 16, "descriptor before 1903");
_Static_assert(offsetof(struct counter_descriptor_v1, u) == 8, "descriptor before 1903: u");
_Static_assert(offsetof(struct counter_list_v1, descriptors) == 4, "list before 1903: Descriptors");
_Static_assert(sizeof(struct counter_event_buffer) == 16, "PHYSICAL_COUNTER_EVENT_BUFFER_CONFIGURATION");
_Static_assert(offsetof(struct counter_event_buffer, threshold) == 12, "EventThreshold");
_Static_assert(sizeof(struct counter_descriptor_v2) == 24, "descriptor since 1903");
_Static_assert(offsetof(struct counter_descriptor_v2, u) == 8, "descriptor since 1903: u");
_Static_assert(offsetof(struct counter_list_v2, descriptors) == 8, "list since 1903: Descriptors");

#endif
