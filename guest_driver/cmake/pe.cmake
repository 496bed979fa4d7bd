# Building PE images with lld-link, and import libraries from .def files.

set(machine_x86_64 i386:x86-64)
set(machine_aarch64 arm64)

# import_library(NAME): a target NAME_import for cmake/imports/NAME.def. Its table holds what a binary really uses, no more.
function(import_library name)
  set(definition ${CMAKE_CURRENT_SOURCE_DIR}/cmake/imports/${name}.def)
  set(library ${CMAKE_CURRENT_BINARY_DIR}/${name}.lib)
  add_custom_command(
    OUTPUT ${library}
    COMMAND ${HALPMC_ZIG} dlltool -m ${machine_${HALPMC_ARCH}} -d ${definition} -l ${library}
    DEPENDS ${definition}
    VERBATIM)
  add_custom_target(${name}_import DEPENDS ${library})
endfunction()

# pe_binary(TARGET FILE imports... LINK options... SOURCES files...)
#
# /brepro: a hash instead of the time, so that equal sources give equal files. /release: a valid checksum, which the Windows
# kernel demands of drivers. /filealign:4096: Wine maps such a file instead of copying it.
function(pe_binary target file)
  cmake_parse_arguments(PARSE_ARGV 2 PE "" "" "IMPORTS;LINK;SOURCES")
  add_executable(${target} ${PE_SOURCES})
  get_filename_component(stem ${file} NAME_WE)
  get_filename_component(suffix ${file} EXT)
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${stem} SUFFIX ${suffix})
  target_include_directories(${target} PRIVATE include pmu)
  target_compile_definitions(${target} PRIVATE HALPMC_VERSION="${PROJECT_VERSION}")
  target_link_options(${target} PRIVATE /nodefaultlib /brepro /release /dynamicbase /nxcompat /filealign:4096 ${PE_LINK})
  foreach(import ${PE_IMPORTS})
    add_dependencies(${target} ${import}_import)
    target_link_libraries(${target} PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/${import}.lib)
    set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS ${CMAKE_CURRENT_BINARY_DIR}/${import}.lib)
  endforeach()
endfunction()
