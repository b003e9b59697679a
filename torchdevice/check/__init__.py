"""What TORCHDEVICE_CHECK finds: a GPU's mistakes, each with its places in the program."""
