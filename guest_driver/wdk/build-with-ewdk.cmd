@echo off
rem Finds an EWDK on a drive of this machine (its ISO in a drive, or unpacked), enters its environment, and runs build.cmd.
rem Exit code 4: there is no EWDK. Otherwise as build.cmd.
setlocal
set kit=
for %%d in (D E F G H I J K L M N O P Q R S T U V W X Y Z C) do if not defined kit if exist %%d:\BuildEnv\SetupBuildEnv.cmd set kit=%%d:
if not defined kit (echo build: no drive has BuildEnv\SetupBuildEnv.cmd & exit /b 4)
call %kit%\BuildEnv\SetupBuildEnv.cmd amd64
call "%~dp0build.cmd" %*
