@echo off
rem Builds pmctest.sys for x64 and ARM64, or for the platform that is given. Run it in the prompt of the EWDK (LaunchBuildEnv)
rem or of Visual Studio with the WDK; where neither brings a kit, `nuget restore packages.config -PackagesDirectory packages` does.
setlocal
cd /d "%~dp0"
msbuild /version >nul 2>nul
if errorlevel 1 (echo build: msbuild is not on the path - run LaunchBuildEnv.cmd of the EWDK first & exit /b 3)
set platforms=%*
if "%platforms%"=="" set platforms=x64 ARM64
for %%p in (%platforms%) do (
  msbuild halpmc.sln /nologo /m /t:Rebuild /p:Configuration=Release /p:Platform=%%p
  if errorlevel 1 exit /b 1
  echo build\%%p\pmctest.sys
)
