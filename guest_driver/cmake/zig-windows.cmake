# Toolchain: the ziglang package (clang, lld and mingw-w64 headers in one) for x86_64 and aarch64 Windows.
#
# Nothing here has a C runtime, so the compiler only ever compiles (no runtime is built on first use), and everything is
# linked by lld-link. HALPMC_ARCH is x86_64 or aarch64; HALPMC_ZIG the zig program, found through Python when not given.

set(CMAKE_SYSTEM_NAME Generic) # no platform's habits: the link rule below is all there is
if(NOT HALPMC_ARCH)
  set(HALPMC_ARCH x86_64)
endif()
set(CMAKE_SYSTEM_PROCESSOR ${HALPMC_ARCH})

if(NOT HALPMC_ZIG)
  find_program(HALPMC_PYTHON NAMES python3 python REQUIRED)
  execute_process(
    COMMAND ${HALPMC_PYTHON} -c "import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).parent / 'zig', end='')"
    OUTPUT_VARIABLE HALPMC_ZIG
    COMMAND_ERROR_IS_FATAL ANY)
endif()
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES HALPMC_ARCH HALPMC_ZIG)

set(CMAKE_C_COMPILER ${HALPMC_ZIG} cc)
set(CMAKE_C_COMPILER_TARGET ${HALPMC_ARCH}-windows-gnu)
set(CMAKE_C_COMPILE_OPTIONS_TARGET "-target ")

# What the compiler is, we know; finding out would link a program with a C runtime.
set(CMAKE_C_COMPILER_ID_RUN TRUE)
set(CMAKE_C_COMPILER_ID Clang)
set(CMAKE_C_COMPILER_VERSION 20.1)
set(CMAKE_C_COMPILER_FRONTEND_VARIANT GNU)
set(CMAKE_C_COMPILER_FORCED TRUE)
set(CMAKE_C_STANDARD_COMPUTED_DEFAULT 17)
set(CMAKE_C_EXTENSIONS_COMPUTED_DEFAULT ON)

set(CMAKE_C_LINK_EXECUTABLE "\"${HALPMC_ZIG}\" lld-link /nologo <LINK_FLAGS> <OBJECTS> <LINK_LIBRARIES> /out:<TARGET>")
