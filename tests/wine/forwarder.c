/* python3.dll, the stable interface that some packages are linked against: its definition file forwards every
 * name to python311.dll. */
int DllMain(void *module, unsigned reason, void *reserved)
{
    (void)module, (void)reason, (void)reserved;
    return 1;
}
