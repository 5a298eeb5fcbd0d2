# Headers, the CMake package `cyclegan` with its target cyclegan::cyclegan, and cyclegan.pc.
set(package "${CMAKE_INSTALL_LIBDIR}/cmake/cyclegan")

install(DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}/include/cyclegan"
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT cyclegan NAMESPACE cyclegan:: FILE cyclegan-targets.cmake DESTINATION ${package})

configure_package_config_file(
  "${CMAKE_CURRENT_SOURCE_DIR}/cmake/cyclegan-config.cmake.in"
  "${CMAKE_CURRENT_BINARY_DIR}/cyclegan-config.cmake" INSTALL_DESTINATION ${package})
# Before 1.0 a minor version is as good as a major one.
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/cyclegan-config-version.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/cyclegan-config.cmake"
              "${CMAKE_CURRENT_BINARY_DIR}/cyclegan-config-version.cmake" DESTINATION ${package})

# The package can be moved: the prefix is found from where the file stands.
file(RELATIVE_PATH to_prefix "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
# Distributions also give absolute folders, which stay as they are.
cmake_path(APPEND pc_libdir "\${prefix}" "${CMAKE_INSTALL_LIBDIR}")
cmake_path(APPEND pc_includedir "\${prefix}" "${CMAKE_INSTALL_INCLUDEDIR}")
configure_file("${CMAKE_CURRENT_SOURCE_DIR}/cmake/cyclegan.pc.in"
               "${CMAKE_CURRENT_BINARY_DIR}/cyclegan.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/cyclegan.pc"
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
