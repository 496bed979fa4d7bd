/* SPDX-License-Identifier: Apache-2.0 */
/* DISPATCH_LEVEL and back, by whichever routine the system exports: on some processors they are macros in its headers. */
#include "driver.h"

#define STATUS_WINE_STUB ((NTSTATUS)0x80000100) /* what a routine raises that Wine exports without an implementation */

static __attribute__((noinline)) KIRQL raise_to_dispatch(void)
{
	return routines.raise_irql != NULL ? routines.raise_irql(DISPATCH_LEVEL) : routines.raise_to_dispatch();
}

static LONG only_stubs(ULONG code)
{
	return (NTSTATUS)code == STATUS_WINE_STUB ? EXCEPTION_EXECUTE_HANDLER : EXCEPTION_CONTINUE_SEARCH;
}

NTSTATUS irql_raise(KIRQL *before)
{
	if ((routines.raise_irql == NULL && routines.raise_to_dispatch == NULL) || routines.lower_irql == NULL)
		return STATUS_NOT_SUPPORTED;
	__try {
		*before = raise_to_dispatch();
	} __except (only_stubs((ULONG)_exception_code())) {
		return STATUS_NOT_SUPPORTED;
	}
	return STATUS_SUCCESS;
}

void irql_lower(KIRQL before)
{
	routines.lower_irql(before);
}
