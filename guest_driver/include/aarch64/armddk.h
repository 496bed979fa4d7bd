/* SPDX-License-Identifier: Apache-2.0 */
/* What mingw-w64's wdm.h includes for ARM, where it has nothing for ARM64: the part of it that this project uses. See nt.h. */
#ifndef HALPMC_ARMDDK_H
#define HALPMC_ARMDDK_H

typedef ULONG PFN_COUNT;
typedef ULONG64 PFN_NUMBER, *PPFN_NUMBER;
typedef LONG64 SPFN_NUMBER, *PSPFN_NUMBER;

#define PASSIVE_LEVEL 0
#define APC_LEVEL 1
#define DISPATCH_LEVEL 2

#define PAGE_SIZE 0x1000
#define PAGE_SHIFT 12L

typedef struct _KFLOATING_SAVE {
	ULONG Dummy;
} KFLOATING_SAVE, *PKFLOATING_SAVE;

NTKERNELAPI KIRQL NTAPI KeGetCurrentIrql(VOID);

#define YieldProcessor() __asm__ __volatile__("yield")

/* As the header does for x64: the compiler's own, which need no routines of the kernel. */
#define InterlockedAdd _InterlockedAdd
#define InterlockedAnd _InterlockedAnd
#define InterlockedCompareExchange _InterlockedCompareExchange
#define InterlockedDecrement _InterlockedDecrement
#define InterlockedExchange _InterlockedExchange
#define InterlockedExchangeAdd _InterlockedExchangeAdd
#define InterlockedIncrement _InterlockedIncrement
#define InterlockedOr _InterlockedOr
#define InterlockedXor _InterlockedXor
#define InterlockedAdd64 _InterlockedAdd64
#define InterlockedAnd64 _InterlockedAnd64
#define InterlockedCompareExchange64 _InterlockedCompareExchange64
#define InterlockedDecrement64 _InterlockedDecrement64
#define InterlockedExchange64 _InterlockedExchange64
#define InterlockedExchangeAdd64 _InterlockedExchangeAdd64
#define InterlockedIncrement64 _InterlockedIncrement64
#define InterlockedOr64 _InterlockedOr64
#define InterlockedXor64 _InterlockedXor64
#define InterlockedCompareExchangePointer _InterlockedCompareExchangePointer
#define InterlockedExchangePointer _InterlockedExchangePointer

#endif
