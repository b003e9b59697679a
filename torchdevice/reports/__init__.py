"""What torchdevice tells about a program. Not `report`: a module of that name would take the place of the function
`torchdevice.report` as soon as somebody imports it."""
