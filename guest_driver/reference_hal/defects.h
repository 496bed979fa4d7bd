/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways to break the reference HAL on purpose, so that a test can show that the harness would notice. One line here, one
 * `if (defect(...))` in the code, and the same name and number in harness/driver/defects.py.
 */
#ifndef HALPMC_DEFECTS_H
#define HALPMC_DEFECTS_H

/* X(number, identifier, name for people and configuration files) */
#define DEFECTS(X)                                                                    \
	X(1, DOUBLE_GRANT, "double-grant")                   /* whoever asks is granted */    \
	X(2, DOUBLE_FREE_ACCEPTED, "double-free-accepted")   /* a stale handle frees fine */  \
	X(3, NULL_NOT_WRITTEN, "null-not-written")           /* the cell is left alone when resources are lacking */

#define DEFECT_ENUM(number, identifier, name) DEFECT_##identifier = (number),
enum defect { DEFECT_NONE = 0, DEFECTS(DEFECT_ENUM) };
#undef DEFECT_ENUM

#endif
